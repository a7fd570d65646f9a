"""An order, its inverse, and the mask that comes back to the grid."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Four patches, one stays visible", "noise", "shuffle: patches by noise",
           "mask, shuffled", "restore: where each patch went", "mask, in the grid's order"),
    "zh": ("四个 patch，保留一个", "随机噪声", "shuffle：按噪声排列的 patch",
           "打乱顺序的 mask", "restore：每个 patch 的去处", "网格顺序的 mask"),
}  # fmt: skip
ROWS = (
    ("0.7", "0.1", "0.9", "0.4"), ("1", "3", "0", "2"), ("0", "1", "1", "1"),
    ("2", "0", "3", "1"), ("1", "0", "1", "1"),
)  # fmt: skip
VISIBLE = (1, 0, 0, 1, 1)  # the column of the visible patch in each row


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, *names = WORDS[language]
    drawing = Drawing(title, 320)
    drawing.text(20, 30, title, "bold")
    for row, (name, cells, visible) in enumerate(zip(names, ROWS, VISIBLE, strict=True)):
        top = 50 + row * 52
        drawing.text(20, top + 24, name)
        for column, cell in enumerate(cells):
            style = "amber faint" if column == visible else "glass faint"
            drawing.box(320 + column * 90, top, 80, 38, cell, style)
    return drawing.svg()
