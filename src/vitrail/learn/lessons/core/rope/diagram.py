"""A pair of channels, rotated by an angle that grows with the position."""

import math

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("One pair of channels at rows 0 to 4", "row"),
    "zh": ("同一对通道在第 0 到 4 行", "行"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, row = WORDS[language]
    drawing = Drawing(title, 190)
    drawing.text(20, 28, title, "bold")
    for index in range(5):
        x, y, angle = 80 + index * 136, 110, 0.5 * index + 0.3
        drawing.arrow((x, y), (x + 50 * math.cos(angle), y - 50 * math.sin(angle)))
        drawing.text(x, 176, f"{row} {index}", "quiet middle")
    return drawing.svg()
