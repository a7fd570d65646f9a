"""Six steps become two."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Folding a norm, a linear layer and LayerScale", "before", "after", "normalize"),
    "zh": ("折叠归一化、线性层与 LayerScale", "折叠前", "折叠后", "归一化"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, before, after, normalize = WORDS[language]
    drawing = Drawing(title, 210)
    drawing.text(20, 30, title, "bold")
    steps = (normalize, "· gain", "+ offset", "W x", "+ bias", "· scale")
    drawing.text(20, 80, before, "quiet")
    for column, step in enumerate(steps):
        x = 90 + column * 104
        drawing.box(x, 56, 88, 38, step, "amber faint" if column else "glass faint")
        if column:
            drawing.arrow((x - 16, 75), (x - 2, 75))
    drawing.arrow((440, 98), (440, 142))
    drawing.text(20, 170, after, "quiet")
    drawing.box(90, 146, 88, 38, normalize, "glass faint")
    drawing.arrow((178, 165), (298, 165))
    drawing.box(302, 146, 276, 38, "W' x + b'", "amber faint")
    return drawing.svg()
