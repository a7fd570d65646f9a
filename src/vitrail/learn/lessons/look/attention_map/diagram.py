"""From a row of the attention matrix to a grid and to pixels."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": (
        "From weights to a map",
        "5 x 5: who takes from whom",
        "its row",
        "grid 2 x 2",
        "pixels",
    ),
    "zh": ("从权重到注意力图", "5 x 5：谁从谁取多少", "它的那一行", "2 x 2 网格", "像素"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, matrix, row, grid, pixels = WORDS[language]
    drawing = Drawing(title, 230)
    drawing.text(20, 30, title, "bold")
    drawing.grid(20, 60, 5, 5, 24)
    drawing.grid(44, 60, 1, 4, 24, "amber")
    drawing.text(20, 204, matrix, "quiet")
    drawing.arrow((146, 72), (214, 72))
    drawing.grid(220, 60, 1, 4, 24, "amber")
    drawing.text(220, 104, row, "quiet")
    drawing.arrow((322, 72), (384, 72))
    drawing.grid(390, 60, 2, 2, 24, "amber")
    drawing.text(390, 132, grid, "quiet")
    drawing.arrow((444, 84), (514, 84))
    drawing.grid(520, 60, 2, 2, 62, "amber")
    drawing.text(520, 208, pixels, "quiet")
    return drawing.svg()
