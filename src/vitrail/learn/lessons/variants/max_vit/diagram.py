"""The same map in blocks and in grids."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("8 x 8 cells, 4 groups of 16 cells", "block: neighbours", "grid: every second cell"),
    "zh": ("8 x 8 个格子，4 组，每组 16 个", "块：相邻的格子", "网格：每隔一个取一个"),
}
COLORS = ("glass", "amber", "moss", "ruby")


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, block, grid = WORDS[language]
    drawing = Drawing(title, 280)
    drawing.text(20, 28, title, "bold")
    for cell in range(64):
        row, column = divmod(cell, 8)
        x, y = 24 * column, 56 + 24 * row
        drawing.box(60 + x, y, 22, 22, "", COLORS[2 * (row // 4) + column // 4] + " faint")
        drawing.box(420 + x, y, 22, 22, "", COLORS[2 * (row % 2) + column % 2] + " faint")
    drawing.text(156, 268, block, "quiet middle")
    drawing.text(516, 268, grid, "quiet middle")
    return drawing.svg()
