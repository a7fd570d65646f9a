"""Three tokens through a pair of layers, with and without flipping the residual."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("What the second layer adds", "hidden, flipped", "residual, flipped: right",
           "residual, not flipped: wrong"),
    "zh": ("第二层相加的是什么", "翻转后的 hidden", "residual 也翻转：正确",
           "residual 没有翻转：错误"),
}  # fmt: skip
ROWS = (("c", "b", "a"), ("c", "b", "a"), ("a", "b", "c"))


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, *names = WORDS[language]
    drawing = Drawing(title, 220)
    drawing.text(20, 30, title, "bold")
    for row, (name, tokens) in enumerate(zip(names, ROWS, strict=True)):
        top = 50 + row * 54
        drawing.text(20, top + 24, name)
        for column, token in enumerate(tokens):
            right = token == ROWS[0][column]
            style = "glass faint" if row == 0 else "moss faint" if right else "ruby faint"
            drawing.box(300 + column * 100, top, 80, 38, token, style)
    return drawing.svg()
