"""Rows of the table for a window of 2 x 2."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Window 2 x 2: nine offsets, sixteen pairs", "window", "row of the table for each pair",
           "key", "query"),
    "zh": ("2 x 2 的窗口：九种偏移，十六对格子", "窗口", "每一对格子用表的哪一行", "key", "query"),
}  # fmt: skip
INDEX = ((4, 3, 1, 0), (5, 4, 2, 1), (7, 6, 4, 3), (8, 7, 5, 4))


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, window, pairs, key, query = WORDS[language]
    drawing = Drawing(title, 270)
    drawing.text(20, 28, title, "bold")
    for cell in range(4):
        drawing.box(40 + 48 * (cell % 2), 90 + 48 * (cell // 2), 44, 44, str(cell), "glass faint")
    drawing.text(86, 212, window, "quiet middle")
    drawing.text(430, 62, key, "quiet middle")
    drawing.text(290, 150, query, "quiet")
    for row, numbers in enumerate(INDEX):
        for column, number in enumerate(numbers):
            style = "amber faint" if number == 4 else "card"
            drawing.box(350 + 42 * column, 72 + 42 * row, 38, 38, str(number), style)
    drawing.text(432, 262, pairs, "quiet middle")
    return drawing.svg()
