"""The steps of the trainer, in order."""

from vitrail.learn.drawing import program

TITLE = {"en": "A probe changes only its own layer", "zh": "线性探针只改动自己的一层"}
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
    return program(TITLE[language], list(zip(STEPS, NOTES[language], strict=True)), REPEATED)
