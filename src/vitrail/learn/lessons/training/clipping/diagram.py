"""A gradient of two numbers, clipped by norm and by value."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("A gradient that is too long", "gradient", "norm clipped: same direction",
           "values clipped: another direction", "max_norm"),
    "zh": ("过长的梯度", "梯度", "按范数裁剪：方向不变", "按数值截断：方向变了", "max_norm"),
}  # fmt: skip
ORIGIN, LIMIT = (80.0, 250.0), 90.0


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, gradient, by_norm, by_value, limit = WORDS[language]
    x, y = ORIGIN
    drawing = Drawing(title, 290)
    drawing.text(20, 30, title, "bold")
    drawing.box(x, y - LIMIT, LIMIT, LIMIT, "", "glass faint")
    drawing.text(x + 6, y + 20, limit, "code quiet")
    for dx, dy, text in ((480, 160, gradient), (85, 28, by_norm), (LIMIT, LIMIT, by_value)):
        drawing.arrow(ORIGIN, (x + dx, y - dy))
        drawing.text(x + dx + 8, y - dy + (20 if dy < 50 else -4), text)
    return drawing.svg()
