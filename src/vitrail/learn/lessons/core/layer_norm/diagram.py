"""Which numbers share a mean, in LayerNorm and in BatchNorm."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Numbers of one color share a mean", "LayerNorm", "BatchNorm", "channels", "tokens"),
    "zh": ("同色的数共用一个均值", "LayerNorm", "BatchNorm", "通道", "token"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, layer, batch, channels, tokens = WORDS[language]
    drawing = Drawing(title, 250)
    drawing.text(20, 28, title, "bold")
    for left, name in ((90, layer), (430, batch)):
        drawing.text(left + 80, 58, name, "bold middle")
        drawing.grid(left, 70, 6, 8, 20)
        drawing.text(left + 80, 210, channels, "quiet middle")
        drawing.text(left - 50, 135, tokens, "quiet middle")
    drawing.grid(90, 110, 1, 8, 20, "amber")
    drawing.grid(490, 70, 6, 1, 20, "amber")
    return drawing.svg()
