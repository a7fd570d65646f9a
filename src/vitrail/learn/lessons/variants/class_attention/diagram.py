"""Self-attention of the patches, then class attention."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Weights of one head", "self-attention: every patch asks", "class attention: one query",
           "keys", "class token"),
    "zh": ("一个头的注意力权重", "自注意力：每个图像块都是 query",
           "class attention：只有一个 query", "key", "class token"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, left, right, keys, token = WORDS[language]
    drawing = Drawing(title, 260)
    drawing.text(20, 28, title, "bold")
    drawing.text(20, 58, left)
    drawing.grid(20, 76, 8, 8, 18)
    drawing.text(164, 238, keys, "quiet")
    drawing.text(370, 58, right)
    drawing.grid(370, 76, 1, 1, 18, "amber")
    drawing.grid(388, 76, 1, 8, 18)
    drawing.text(540, 90, keys, "quiet")
    drawing.arrow((379, 122), (379, 98))
    drawing.text(370, 142, token, "quiet")
    return drawing.svg()
