"""The momentum over training."""

import math

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("The momentum of DINO's teacher", "start: 0.996", "end: 1",
           "the teacher follows the student", "the teacher rests"),
    "zh": ("DINO 教师的动量", "开始：0.996", "结束：1", "教师跟随学生", "教师稳定下来"),
}  # fmt: skip
POINTS, LEFT, RIGHT, TOP, BOTTOM = 25, 130, 560, 70, 200


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, start, end, follows, rests = WORDS[language]
    drawing = Drawing(title, 250)
    drawing.text(20, 30, title, "bold")
    curve = []
    for point in range(POINTS):
        part = point / (POINTS - 1)
        height = (1 - math.cos(math.pi * part)) / 2
        curve.append((LEFT + part * (RIGHT - LEFT), BOTTOM - height * (BOTTOM - TOP)))
    drawing.arrow(*curve)
    drawing.text(20, BOTTOM + 5, start)
    drawing.text(RIGHT + 16, TOP + 5, end)
    drawing.text(LEFT, 232, follows, "quiet")
    drawing.text(RIGHT - 110, 232, rests, "quiet")
    return drawing.svg()
