"""The learning rate of a run."""

import math

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Learning rate: warm-up, then half a cosine", "warm-up", "cosine", "peak", "lowest"),
    "zh": ("学习率：先预热，再沿半个余弦下降", "预热", "余弦退火", "峰值", "最低"),
}
LEFT, SEAM, RIGHT, TOP, BOTTOM, POINTS = 90, 170, 620, 70, 210, 30


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, warmup, cosine, peak, lowest = WORDS[language]
    drawing = Drawing(title, 260)
    drawing.text(20, 30, title, "bold")
    curve = [(LEFT, BOTTOM), (SEAM, TOP)]
    for point in range(1, POINTS + 1):
        part = point / POINTS
        height = 0.06 + 0.94 * (1 + math.cos(math.pi * part)) / 2
        curve.append((SEAM + part * (RIGHT - SEAM), BOTTOM - height * (BOTTOM - TOP)))
    drawing.arrow(*curve)
    drawing.text(SEAM + 8, TOP - 8, peak)
    drawing.text(RIGHT + 12, BOTTOM - 4, lowest)
    drawing.text(LEFT, 240, warmup, "quiet")
    drawing.text(330, 240, cosine, "quiet")
    return drawing.svg()
