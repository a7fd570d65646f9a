"""Queries, keys, weights and values as grids."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Each row of weights sums to 1", "queries (N, d)", "keysᵀ (d, M)", "weights (N, M)",
           "values (M, e)", "output (N, e)"),
    "zh": ("权重的每一行之和为 1", "query (N, d)", "keyᵀ (d, M)", "权重 (N, M)",
           "value (M, e)", "输出 (N, e)"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, queries, keys, weights, values, output = WORDS[language]
    drawing = Drawing(title, 200)
    drawing.text(20, 28, title, "bold")
    drawing.grid(20, 70, 3, 4, 20)
    drawing.grid(140, 60, 4, 5, 20, "moss faint")
    drawing.arrow((252, 100), (310, 100))
    drawing.text(281, 90, "softmax", "middle")
    drawing.grid(320, 70, 3, 5, 20, "amber faint")
    drawing.grid(320, 90, 1, 5, 20, "amber")
    drawing.text(440, 104, "@")
    drawing.grid(465, 50, 5, 6, 20, "ruby faint")
    drawing.text(594, 104, "=")
    drawing.grid(610, 70, 3, 5, 20, "glass faint")
    for x, text in ((60, queries), (190, keys), (370, weights), (525, values), (655, output)):
        drawing.text(x, 182, text, "quiet middle")
    return drawing.svg()
