"""The steps of the trainer, in order."""

from vitrail.learn.drawing import program

TITLE = {"en": "An evaluation leaves no trace", "zh": "评估不留痕迹"}
NOTES = {
    "en": (
        "remember",
        "no dropout, fixed statistics",
        "no graph",
        "sums and counts, per batch",
        "as it was",
    ),
    "zh": (
        "记住原来的模式",
        "关闭 dropout，固定统计量",
        "不建计算图",
        "每个 batch 累加总和与计数",
        "恢复原样",
    ),
}
STEPS = ("mode = model.training", "model.eval()", "no_grad()", "sums += batch", "model.train(mode)")
REPEATED = (3,)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    return program(TITLE[language], list(zip(STEPS, NOTES[language], strict=True)), REPEATED)
