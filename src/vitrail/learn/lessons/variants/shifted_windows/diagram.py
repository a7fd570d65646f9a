"""A rolled map, its strangers and its windows."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": (
        "Shifted windows, shift (1, 1)",
        "before",
        "rolled by (-1, -1)",
        "same color: may attend",
    ),
    "zh": ("移位窗口，位移 (1, 1)", "滚动前", "滚动 (-1, -1) 之后", "同色的格子可以互相关注"),
}
COLORS = ("glass", "amber", "moss", "ruby")


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, before, after, legend = WORDS[language]
    drawing = Drawing(title, 270)
    drawing.text(20, 28, title, "bold")
    for cell in range(16):
        row, column = divmod(cell, 4)
        color = f"{COLORS[2 * (row == 0) + (column == 0)]} faint"
        drawing.box(30 + 42 * column, 56 + 42 * row, 38, 38, str(cell), color)
        row, column = (row - 1) % 4, (column - 1) % 4
        gaps = 8 * (column // 2), 8 * (row // 2)
        drawing.box(330 + 42 * column + gaps[0], 52 + 42 * row + gaps[1], 38, 38, str(cell), color)
    drawing.arrow((215, 138), (310, 138))
    drawing.text(262, 126, "roll", "code middle")
    drawing.text(112, 252, before, "quiet middle")
    drawing.text(418, 252, after, "quiet middle")
    drawing.text(520, 142, legend, "quiet")
    return drawing.svg()
