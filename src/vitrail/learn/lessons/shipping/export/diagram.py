"""What becomes an operation of the graph, and what is decided once."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("From forward to a graph", "forward", "the graph", "int(x.shape[0])", "1 for ever"),
    "zh": ("从 forward 到计算图", "forward", "计算图", "int(x.shape[0])", "永远是 1"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, code, graph, size, forever = WORDS[language]
    drawing = Drawing(title, 260)
    drawing.text(20, 30, title, "bold")
    drawing.text(40, 66, code, "quiet")
    drawing.text(440, 66, graph, "quiet")
    lines = (
        ("embed(images)", "conv", "glass faint"),
        ("x.mean(dim=1)", "mean", "glass faint"),
        (size, forever, "ruby faint"),
    )
    for number, (left, right, style) in enumerate(lines):
        top = 84 + 56 * number
        drawing.box(40, top, 240, 38, left, style)
        drawing.arrow((280, top + 19), (438, top + 19))
        drawing.box(440, top, 200, 38, right, style)
    return drawing.svg()
