"""The residual stream, and two branches that read from it through a norm."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Pre-norm: a stream that runs through, and two branches", "attention",
           "residual stream"),
    "zh": ("Pre-Norm：一条直通的主干和两个分支", "注意力", "残差主干"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, attention, stream = WORDS[language]
    drawing = Drawing(title, 210)
    drawing.text(20, 28, title, "bold")
    drawing.text(40, 165, "x", "code")
    drawing.arrow((60, 160), (690, 160))
    drawing.text(600, 184, stream, "quiet middle")
    for left, name, number in ((90, attention, 1), (360, "MLP", 2)):
        drawing.arrow((left, 160), (left, 81), (left + 20, 81))
        drawing.box(left + 24, 62, 76, 38, f"norm{number}", "moss faint")
        drawing.arrow((left + 100, 81), (left + 120, 81))
        drawing.box(left + 124, 62, 90, 38, name, "glass faint")
        drawing.arrow((left + 214, 81), (left + 234, 81), (left + 234, 152))
        drawing.text(left + 240, 148, "+", "bold")
    return drawing.svg()
