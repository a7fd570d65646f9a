"""Accuracy by the number of training images: `benchmarks/results/inductive_bias.json`."""

import math

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Accuracy on Fashion-MNIST, equal steps, one seed", "training images", "shifted"),
    "zh": ("Fashion-MNIST 准确率（训练步数相同，单个种子）", "训练图像数", "平移"),
}
# Percent on the test images, and on shifted ones; a test compares them with the file.
ACCURACY = {
    "CNN": {
        100: (58.8, 42.8),
        300: (72.6, 57.5),
        1000: (78.1, 64.8),
        3000: (79.7, 68.6),
        10000: (80.4, 69.0),
        60000: (86.2, 74.2),
    },
    "ViT": {
        100: (38.3, 27.7),
        300: (52.3, 40.4),
        1000: (60.5, 50.0),
        3000: (60.3, 52.2),
        10000: (61.2, 52.5),
        60000: (78.6, 55.9),
    },
}
LEFT, TOP, WIDTH, HEIGHT, LOWEST = 70.0, 56.0, 470.0, 240.0, 20.0
STYLES = {"CNN": "amber", "ViT": "glass"}


def position(count: int, percent: float) -> tuple[float, float]:
    """Where a point is drawn: images on a logarithmic scale."""
    low, high = math.log(100), math.log(60_000)
    x = LEFT + WIDTH * (math.log(count) - low) / (high - low)
    return x, TOP + HEIGHT * (1 - (percent - LOWEST) / (100 - LOWEST))


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, axis, shifted = WORDS[language]
    drawing = Drawing(title, 360)
    drawing.text(20, 30, title, "bold")
    drawing.box(LEFT, TOP, WIDTH, HEIGHT)
    for percent in (20, 40, 60, 80, 100):
        drawing.text(24, position(100, percent)[1] + 5, f"{percent} %", "quiet")
    for count in ACCURACY["CNN"]:
        drawing.text(position(count, 20)[0], TOP + HEIGHT + 20, f"{count:,}", "quiet middle")
    drawing.text(LEFT + WIDTH / 2, TOP + HEIGHT + 44, axis, "middle")
    row = 0
    for kind in range(2):
        for name, values in ACCURACY.items():
            points = [position(count, both[kind]) for count, both in values.items()]
            drawing.arrow(*points)
            style = STYLES[name] + (" faint" if kind else "")
            for x, y in points:
                drawing.box(x - 5, y - 5, 10, 10, "", style)
            drawing.box(564, 80 + row * 30, 12, 12, "", style)
            drawing.text(584, 91 + row * 30, f"{name}, {shifted}" if kind else name)
            row += 1
    return drawing.svg()
