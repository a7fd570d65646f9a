"""Blocks of keys, and what is kept between them."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("One block of keys at a time", "keys", "logits of one block", "kept: m, l, o",
           "never stored: the whole matrix"),
    "zh": ("每次只读一块 key", "key", "一块的 logits", "保存：m、l、o", "从不保存整个矩阵"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, keys, logits, state, never = WORDS[language]
    drawing = Drawing(title, 270)
    drawing.text(20, 28, title, "bold")
    drawing.text(30, 62, keys, "quiet")
    for block in range(3):
        style = "amber" if block == 1 else "glass faint"
        drawing.grid(30 + 108 * block, 72, 1, 4, 26, style)
        drawing.grid(30 + 108 * block, 112, 5, 4, 26, style if block == 1 else "card")
        drawing.arrow((40 + 108 * block, 258), (130 + 108 * block, 258))
    drawing.text(380, 130, logits)
    drawing.text(380, 160, never, "quiet")
    drawing.box(380, 200, 170, 40, "m, l, o", "moss faint")
    drawing.text(560, 226, state, "quiet")
    return drawing.svg()
