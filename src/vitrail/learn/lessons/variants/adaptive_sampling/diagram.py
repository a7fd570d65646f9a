"""A distribution function and the points that sample it."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Scores 1, 1, 2, 4, 8 and K = 4 points", "patches, sorted", "sum of the scores",
           "amber: picked by a point"),
    "zh": ("分数 1、1、2、4、8，取 K = 4 个点", "图像块（按分数排序）", "分数累加",
           "琥珀色：被采样点选中"),
}  # fmt: skip
SCORES = (1, 1, 2, 4, 8)
BASE, HEIGHT = 240, 170


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, patches, total, legend = WORDS[language]
    drawing = Drawing(title, 290)
    drawing.text(20, 28, title, "bold")
    sums = [sum(SCORES[: i + 1]) / sum(SCORES) for i in range(len(SCORES))]
    points = [(i + 0.5) / 4 for i in range(4)]
    picked = {min(range(5), key=lambda i: abs(sums[i] - point)) for point in points}
    for i, height in enumerate(sums):
        color = "amber" if i in picked else "glass faint"
        drawing.box(160 + 70 * i, BASE - HEIGHT * height, 60, HEIGHT * height, "", color)
    for number, point in enumerate(points):
        y = BASE - HEIGHT * point
        drawing.text(84, y + 5, f"{2 * number + 1}/8", "code")
        drawing.arrow((120, y), (520, y))
    drawing.text(20, 54, total, "quiet")
    drawing.text(330, 268, patches, "quiet middle")
    drawing.text(535, 150, legend, "quiet")
    return drawing.svg()
