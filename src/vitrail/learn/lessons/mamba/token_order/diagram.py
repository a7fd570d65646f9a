"""Patches change places, the class token stays."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("The class token stays in the middle", "tokens", "flipped", "shuffled"),
    "zh": ("class token 始终在中间", "原序列", "翻转", "随机重排"),
}
ROWS = (
    ("p0", "p1", "p2", "c", "p3", "p4", "p5"),
    ("p5", "p4", "p3", "c", "p2", "p1", "p0"),
    ("p2", "p5", "p0", "c", "p3", "p1", "p4"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, *names = WORDS[language]
    drawing = Drawing(title, 220)
    drawing.text(20, 30, title, "bold")
    for row, (name, tokens) in enumerate(zip(names, ROWS, strict=True)):
        top = 50 + row * 54
        drawing.text(20, top + 24, name)
        for column, token in enumerate(tokens):
            style = "amber faint" if token == "c" else "glass faint"
            drawing.box(150 + column * 80, top, 70, 38, token, style)
    return drawing.svg()
