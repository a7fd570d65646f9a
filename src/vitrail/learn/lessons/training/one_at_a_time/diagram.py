"""Three seeds of two settings: apart they overlap, paired they do not."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("The same three seeds, with and without an addition", "without", "with",
           "difference", "0.4 ± 0.1: kept, although the groups overlap"),
    "zh": ("同样三个种子，加与不加", "不加", "加", "差", "0.4 ± 0.1：保留，尽管两组相互重叠"),
}  # fmt: skip
PLAIN, ADDED = (71.0, 72.4, 73.1), (71.5, 72.6, 73.6)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, without, with_it, difference, note = WORDS[language]
    drawing = Drawing(title, 250)
    drawing.text(20, 30, title, "bold")
    for row, (name, values) in enumerate(((without, PLAIN), (with_it, ADDED))):
        y = 80 + row * 60
        drawing.text(20, y + 6, name, "quiet")
        for value in values:
            drawing.box(130 + (value - 70.5) * 160, y - 6, 12, 12, "", ("glass", "amber")[row])
    for before, after in zip(PLAIN, ADDED, strict=True):
        x, end = 136 + (before - 70.5) * 160, 136 + (after - 70.5) * 160
        drawing.arrow((x, 88), (end, 130))
    drawing.text(20, 200, difference, "quiet")
    drawing.text(130, 200, "+0.5   +0.2   +0.5", "code")
    drawing.text(130, 226, note)
    return drawing.svg()
