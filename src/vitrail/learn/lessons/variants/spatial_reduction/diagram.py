"""Queries of the full map, keys of a small one."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": (
        "Every cell asks a coarser map",
        "queries: 8 x 8",
        "keys, values: 2 x 2",
        "weights: 64 x 4",
    ),
    "zh": ("每个格子都去查一张更粗的图", "query：8 x 8", "key、value：2 x 2", "权重：64 x 4"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, queries, keys, weights = WORDS[language]
    drawing = Drawing(title, 270)
    drawing.text(20, 28, title, "bold")
    drawing.grid(30, 60, 8, 8, 20)
    drawing.grid(30, 60, 1, 1, 20, "amber")
    drawing.text(110, 248, queries, "quiet middle")
    drawing.arrow((200, 140), (320, 140))
    drawing.text(260, 128, "reduce, norm", "code middle")
    drawing.grid(330, 100, 2, 2, 40, "moss faint")
    drawing.text(370, 248, keys, "quiet middle")
    drawing.arrow((50, 68), (340, 68), (350, 96))
    for key in range(4):
        drawing.box(520 + 40 * key, 120, 36, 36, f"w{key}", "amber faint")
    drawing.text(598, 248, weights, "quiet middle")
    return drawing.svg()
