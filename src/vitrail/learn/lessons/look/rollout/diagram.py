"""Matrices of layers, multiplied from the right."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Attention rollout of three layers", "layer {}", "input patches", "class token's row"),
    "zh": ("三层的 attention rollout", "第 {} 层", "输入 patch", "class token 所在的行"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, layer, inputs, row = WORDS[language]
    drawing = Drawing(title, 220)
    drawing.text(20, 30, title, "bold")
    for column, number in enumerate((3, 2, 1)):
        x = 170 + column * 140
        drawing.grid(x, 62, 5, 5, 20)
        drawing.text(x + 16, 186, layer.format(number), "quiet")
        drawing.text(x - 26, 118, "=" if not column else "@", "code")
    drawing.grid(20, 62, 5, 5, 20)
    drawing.grid(20, 62, 1, 5, 20, "amber")
    drawing.text(20, 52, row, "quiet")
    drawing.arrow((600, 112), (560, 112))
    drawing.text(608, 117, inputs)
    return drawing.svg()
