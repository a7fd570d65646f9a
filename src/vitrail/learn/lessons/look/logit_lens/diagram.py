"""The head after every block."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("The logit lens", "block", "norm, head", "the model's answer"),
    "zh": ("Logit lens", "block", "归一化、分类头", "模型的答案"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, block, head, answer = WORDS[language]
    drawing = Drawing(title, 240)
    drawing.text(20, 30, title, "bold")
    for number in range(4):
        x = 20 + number * 170
        drawing.box(x, 60, 110, 40, f"{block} {number + 1}", "glass faint")
        if number < 3:
            drawing.arrow((x + 110, 80), (x + 166, 80))
        drawing.arrow((x + 55, 100), (x + 55, 136))
        drawing.box(x, 140, 120, 38, head, "amber faint" if number == 3 else "card")
        drawing.arrow((x + 55, 178), (x + 55, 206))
    drawing.text(530, 226, answer, "quiet")
    return drawing.svg()
