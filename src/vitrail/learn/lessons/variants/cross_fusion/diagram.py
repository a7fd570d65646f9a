"""The journey of a class token through the other branch."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("The class token visits the other branch", "branch S: 12 x 12 pixels, D = 192",
           "branch L: 16 x 16 pixels, D = 384", "class attention + residual"),
    "zh": ("class token 到另一分支走一趟", "S 分支：12 x 12 像素，D = 192",
           "L 分支：16 x 16 像素，D = 384", "类别注意力 + 残差"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, small, large, attention = WORDS[language]
    drawing = Drawing(title, 250)
    drawing.text(20, 28, title, "bold")
    drawing.text(96, 64, small)
    drawing.box(20, 74, 60, 34, "cls", "amber faint")
    drawing.grid(96, 76, 1, 14, 30)
    drawing.text(20, 232, large)
    drawing.box(200, 170, 60, 34, "cls'", "amber faint")
    drawing.grid(276, 172, 1, 9, 30, "moss faint")
    drawing.arrow((50, 108), (50, 187), (195, 187))
    drawing.text(60, 150, "project_in", "code")
    drawing.arrow((546, 187), (600, 187), (600, 45), (50, 45), (50, 70))
    drawing.text(500, 150, "project_out", "code")
    drawing.text(330, 232, attention, "quiet")
    return drawing.svg()
