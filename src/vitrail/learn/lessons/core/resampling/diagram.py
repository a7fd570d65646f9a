"""A table of positions as an image, resampled."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("The table is an image with D channels", "14 x 14 rows", "24 x 24 rows", "bicubic",
           "class token: kept"),
    "zh": ("位置编码表是一张 D 通道的图", "14 x 14 行", "24 x 24 行", "双三次插值",
           "CLS token：不变"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, old, new, bicubic, token = WORDS[language]
    drawing = Drawing(title, 260)
    drawing.text(20, 28, title, "bold")
    drawing.box(60, 48, 24, 24, "", "amber")
    drawing.text(96, 65, token)
    drawing.grid(60, 84, 7, 7, 18)
    drawing.text(122, 240, old, "quiet middle")
    drawing.arrow((220, 147), (400, 147))
    drawing.text(310, 137, bicubic, "middle")
    drawing.box(420, 48, 24, 24, "", "amber")
    drawing.grid(420, 84, 12, 12, 11)
    drawing.text(486, 240, new, "quiet middle")
    return drawing.svg()
