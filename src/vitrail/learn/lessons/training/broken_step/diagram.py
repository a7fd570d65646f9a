"""The order of a training step with accumulation."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("One step, three parts", "once", "for each part", "once"),
    "zh": ("分三份的一步", "一次", "每一份", "一次"),
}
STEPS = (
    ("zero_grad", 0),
    ("forward", 1),
    ("loss · n / B", 1),
    ("backward", 1),
    ("clip norm", 2),
    ("step", 2),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, *often = WORDS[language]
    drawing = Drawing(title, 180)
    drawing.text(20, 30, title, "bold")
    for column, (name, group) in enumerate(STEPS):
        x = 20 + column * 116
        drawing.box(x, 70, 104, 40, name, "amber faint" if group == 1 else "glass faint")
        if column + 1 < len(STEPS):
            drawing.arrow((x + 104, 90), (x + 114, 90))
    for x, text in ((20, often[0]), (136, often[1]), (484, often[2])):
        drawing.text(x, 136, text, "quiet")
    drawing.arrow((420, 114), (420, 156), (188, 156), (188, 114))
    return drawing.svg()
