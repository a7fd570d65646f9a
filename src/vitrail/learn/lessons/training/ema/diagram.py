"""Weights that circle a minimum, and their average."""

import math

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Weights circle around a minimum; their average does not", "weights", "EMA", "minimum"),
    "zh": ("权重绕着极小值打转，平均值不会", "权重", "EMA", "极小值"),
}
STEPS = 48


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, weights, ema, minimum = WORDS[language]
    drawing = Drawing(title, 290)
    drawing.text(20, 30, title, "bold")
    x, y, path, mean = 70.0, 230.0, [], []
    average = (x, y)
    for step in range(STEPS):
        radius = 75 if step > 8 else 20
        x += (430 - x) * 0.22
        y += (150 - y) * 0.22
        path.append((x + radius * math.cos(step * 1.9), y + radius * math.sin(step * 1.9)))
        d = min(0.92, (1 + step) / (10 + step))
        average = tuple(d * a + (1 - d) * p for a, p in zip(average, path[-1], strict=True))
        mean.append(average)
    for index, (px, py) in enumerate(path):
        drawing.box(px - 3, py - 3, 6, 6, "", "ruby faint")
        drawing.box(mean[index][0] - 3, mean[index][1] - 3, 6, 6, "", "glass")
    drawing.box(425, 145, 10, 10, "", "moss")
    for row, (style, text) in enumerate(
        (("ruby faint", weights), ("glass", ema), ("moss", minimum))
    ):
        drawing.box(580, 100 + row * 34, 16, 16, "", style)
        drawing.text(606, 113 + row * 34, text)
    return drawing.svg()
