"""Where the loss is taken."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("The loss of MAE", "true pixels", "normalized per patch", "predictions",
           "squared error", "only where masked"),
    "zh": ("MAE 的损失", "真实像素", "按 patch 归一化", "预测", "平方误差", "只在被遮住处"),
}  # fmt: skip
MASKED = (
    (0, 0),
    (0, 2),
    (0, 3),
    (1, 0),
    (1, 1),
    (1, 3),
    (2, 1),
    (2, 2),
    (2, 3),
    (3, 0),
    (3, 1),
    (3, 3),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, pixels, normalized, predictions, error, where = WORDS[language]
    drawing = Drawing(title, 230)
    drawing.text(20, 30, title, "bold")
    drawing.box(20, 60, 130, 38, pixels, "glass faint")
    drawing.arrow((150, 79), (178, 79))
    drawing.box(182, 60, 180, 38, normalized)
    drawing.box(182, 130, 180, 38, predictions, "amber faint")
    drawing.arrow((362, 79), (400, 79), (400, 104), (416, 104))
    drawing.arrow((362, 149), (400, 149), (400, 124), (416, 124))
    drawing.box(420, 95, 130, 38, error)
    drawing.arrow((550, 114), (586, 114))
    drawing.grid(592, 60, 4, 4, 26)
    for row, column in MASKED:
        drawing.grid(592 + column * 26, 60 + row * 26, 1, 1, 26, "ruby")
    drawing.text(580, 196, where, "quiet")
    return drawing.svg()
