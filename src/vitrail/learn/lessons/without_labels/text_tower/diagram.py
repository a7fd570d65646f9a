"""The causal mask, and the token that is read."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Causal attention over a caption", "who looks", "what is seen", "the caption's feature"),
    "zh": ("文本上的因果注意力", "看的一方", "被看的一方", "整句的特征"),
}
TOKENS = ("start", "a", "dog", "end", "pad", "pad")


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, rows, columns, feature = WORDS[language]
    drawing = Drawing(title, 280)
    drawing.text(20, 30, title, "bold")
    drawing.text(20, 80, rows, "quiet")
    drawing.text(470, 76, columns, "quiet")
    for row, token in enumerate(TOKENS):
        drawing.text(110, 108 + 28 * row, token, "code")
        drawing.text(201 + 46 * row, 76, token, "code middle")
        for column in range(len(TOKENS)):
            visible = column <= row
            style = ("amber" if row == 3 else "glass faint") if visible else "card"
            drawing.box(180 + 46 * column, 90 + 28 * row, 42, 24, style=style)
    drawing.arrow((460, 186), (520, 186))
    drawing.text(528, 191, feature)
    return drawing.svg()
