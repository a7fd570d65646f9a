"""An image that loses its hottest cells, and the curve."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Deletion: the hottest cells go first", "heat", "2 of 9 gone", "5 of 9 gone", "p"),
    "zh": ("删除曲线：从最热的格子删起", "热力图", "删去 2 / 9", "删去 5 / 9", "p"),
}
RANKS = ((8, 3, 5), (2, 0, 1), (7, 4, 6))


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, heat, two, five, probability = WORDS[language]
    drawing = Drawing(title, 210)
    drawing.text(20, 30, title, "bold")
    for number, (label, gone) in enumerate(((heat, 0), (two, 2), (five, 5))):
        left = 20 + 150 * number
        for row, line in enumerate(RANKS):
            for column, rank in enumerate(line):
                hot = "amber" if rank < 3 else "amber faint"
                style = "card" if rank < gone else hot
                x, y = left + 36 * column, 56 + 36 * row
                drawing.box(x, y, 32, 32, "" if number else str(rank + 1), style)
        drawing.text(left, 190, label, "quiet")
    drawing.arrow((490, 164), (490, 50))
    drawing.arrow((490, 164), (690, 164))
    drawing.text(470, 60, probability, "code")
    drawing.arrow((490, 66), (530, 120), (580, 148), (670, 158))
    return drawing.svg()
