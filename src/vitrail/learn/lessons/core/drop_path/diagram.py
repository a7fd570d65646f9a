"""The masks of dropout and of DropPath."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("What is dropped (red) in a batch of 4", "dropout: single numbers",
           "DropPath: whole samples"),
    "zh": ("batch 为 4 时被丢弃的部分（红色）", "Dropout：单个数", "DropPath：整个样本"),
}  # fmt: skip
DROPPED = {(0, 2), (0, 5), (1, 1), (1, 7), (2, 0), (2, 4), (3, 3), (3, 8), (3, 9)}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, dropout, path = WORDS[language]
    drawing = Drawing(title, 190)
    drawing.text(20, 28, title, "bold")
    for left, name in ((40, dropout), (400, path)):
        drawing.grid(left, 60, 4, 12, 22)
        drawing.text(left + 130, 174, name, "quiet middle")
    for row, column in sorted(DROPPED):
        drawing.grid(40 + column * 22, 60 + row * 22, 1, 1, 22, "ruby")
    drawing.grid(400, 82, 1, 12, 22, "ruby")
    return drawing.svg()
