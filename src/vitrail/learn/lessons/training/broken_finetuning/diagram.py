"""The steps of the trainer, in order."""

from vitrail.learn.drawing import Drawing

TITLE = {"en": "A probe changes only its own layer", "zh": "线性探测只改动自己的一层"}
NOTES = {
    "en": (
        "frozen: weights and statistics",
        "once: it holds the momentum",
        "per step",
        "per step, without softmax",
        "per step",
    ),
    "zh": ("冻结：权重与统计量", "一次：动量存在里面", "每步", "每步，不加 softmax", "每步"),
}
STEPS = ("backbone.eval()", "SGD(head)", "no_grad: features", "cross_entropy(logits)", "step")
REPEATED = (2, 3, 4)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    drawing = Drawing(TITLE[language], 70 + 46 * len(STEPS))
    drawing.text(20, 30, TITLE[language], "bold")
    for row, (name, note) in enumerate(zip(STEPS, NOTES[language], strict=True)):
        top = 50 + row * 46
        drawing.box(20, top, 250, 34, name, "amber faint" if row in REPEATED else "glass faint")
        drawing.text(290, top + 22, note, "quiet")
    return drawing.svg()
