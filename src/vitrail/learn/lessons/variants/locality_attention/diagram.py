"""Weights with a masked diagonal."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("No token attends to itself", "logits, -inf on the diagonal", "one factor per head",
           "weights: rows sum to 1"),
    "zh": ("token 不关注自己", "logits，对角线为 -inf", "每个头一个系数", "权重：每行之和为 1"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, logits, factor, weights = WORDS[language]
    drawing = Drawing(title, 270)
    drawing.text(20, 28, title, "bold")
    for left, text in ((40, logits), (460, weights)):
        drawing.grid(left, 60, 7, 7, 24)
        for i in range(7):
            drawing.box(left + 24 * i, 60 + 24 * i, 22, 22, "", "sheet")
        drawing.text(left + 84, 252, text, "quiet middle")
    drawing.arrow((220, 144), (440, 144))
    drawing.text(330, 132, "softmax", "code middle")
    drawing.text(330, 168, factor, "quiet middle")
    return drawing.svg()
