"""LayerScale, multiplied into the linear layer before it."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("LayerScale folds into the layer before it", "the public model",
           "your model: the same function"),
    "zh": ("LayerScale 可以并入前面的线性层", "公开的模型", "你的模型：同一个函数"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, theirs, ours = WORDS[language]
    drawing = Drawing(title, 210)
    drawing.text(20, 28, title, "bold")
    drawing.text(20, 66, theirs, "quiet")
    drawing.box(20, 76, 130, 38, "attention", "glass faint")
    drawing.arrow((150, 95), (180, 95))
    drawing.box(180, 76, 170, 38, "proj: W a + b", "moss faint")
    drawing.arrow((350, 95), (380, 95))
    drawing.box(380, 76, 130, 38, "* gamma", "amber faint")
    drawing.arrow((510, 95), (550, 95))
    drawing.text(20, 146, ours, "quiet")
    drawing.box(20, 156, 130, 38, "attention", "glass faint")
    drawing.arrow((150, 175), (180, 175))
    drawing.box(180, 156, 330, 38, "proj: (gamma W) a + gamma b", "moss faint")
    drawing.arrow((510, 175), (550, 175))
    return drawing.svg()
