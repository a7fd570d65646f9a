"""One large matrix as a product of three small ones."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("A large matrix of weights from three small ones", "N x N", "N x m", "m x m, inverted",
           "m x N"),
    "zh": ("用三个小矩阵近似一个大矩阵", "N x N", "N x m", "m x m 的伪逆", "m x N"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, full, left, middle, right = WORDS[language]
    drawing = Drawing(title, 270)
    drawing.text(20, 28, title, "bold")
    drawing.grid(20, 60, 10, 10, 16)
    drawing.text(100, 246, full, "quiet middle")
    drawing.text(210, 145, "≈", "bold")
    drawing.grid(250, 60, 10, 2, 16, "amber faint")
    drawing.text(266, 246, left, "quiet middle")
    drawing.grid(340, 124, 2, 2, 16, "ruby faint")
    drawing.text(356, 188, middle, "quiet middle")
    drawing.grid(440, 124, 2, 10, 16, "moss faint")
    drawing.text(520, 188, right, "quiet middle")
    return drawing.svg()
