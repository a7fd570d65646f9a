"""A half of a block, post-norm and pre-norm."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("One half of a block", "post-norm (2017): the norm lies on the stream",
           "pre-norm (ViT): the norm lies on the branch"),
    "zh": ("block 的一个子层",
           "Post-Norm（2017）：归一化在主干上", "Pre-Norm（ViT）：归一化在分支上"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, post, pre = WORDS[language]
    drawing = Drawing(title, 290)
    drawing.text(20, 30, title, "bold")
    for top, words in ((60, post), (180, pre)):
        drawing.text(20, top, words, "quiet")
        drawing.box(20, top + 56, 60, 34, "x")
        drawing.arrow((80, top + 73), (388, top + 73))
        drawing.box(390, top + 56, 40, 34, "+")
        before = top == 180
        if before:
            drawing.box(120, top + 10, 90, 34, "LN", "amber faint")
        drawing.box(240, top + 10, 120, 34, "f", "glass faint")
        drawing.arrow((100, top + 73), (100, top + 27), (118 if before else 238, top + 27))
        if before:
            drawing.arrow((210, top + 27), (238, top + 27))
        drawing.arrow((360, top + 27), (410, top + 27), (410, top + 54))
        if before:
            drawing.arrow((430, top + 73), (600, top + 73))
        else:
            drawing.box(450, top + 56, 90, 34, "LN", "amber faint")
            drawing.arrow((430, top + 73), (448, top + 73))
            drawing.arrow((540, top + 73), (600, top + 73))
    return drawing.svg()
