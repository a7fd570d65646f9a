"""A map of 4 x 4 cells and its windows."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("From a map to windows", "map, 4 x 4 cells", "4 windows of 4 tokens"),
    "zh": ("从特征图到窗口", "特征图，4 x 4 个格子", "4 个窗口，每个 4 个 token"),
}
COLORS = ("glass", "amber", "moss", "ruby")


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, whole, windows = WORDS[language]
    drawing = Drawing(title, 270)
    drawing.text(20, 28, title, "bold")
    counts = [0] * 4
    for cell in range(16):
        row, column = divmod(cell, 4)
        window = 2 * (row // 2) + column // 2
        color = f"{COLORS[window]} faint"
        drawing.box(30 + 42 * column, 56 + 42 * row, 38, 38, str(cell), color)
        drawing.box(400 + 42 * counts[window], 56 + 42 * window, 38, 38, str(cell), color)
        counts[window] += 1
    drawing.arrow((220, 138), (380, 138))
    drawing.text(300, 126, "partition", "code middle")
    drawing.text(112, 252, whole, "quiet middle")
    drawing.text(482, 252, windows, "quiet middle")
    return drawing.svg()
