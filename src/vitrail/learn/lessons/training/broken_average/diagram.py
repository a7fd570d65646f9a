"""The steps of the trainer, in order."""

from vitrail.learn.drawing import program

TITLE = {"en": "Three details of every recipe", "zh": "每份配方里的三处细节"}
NOTES = {
    "en": (
        "weights",
        "biases, norms",
        "per step, from the peak",
        "per step",
        "per step: parameters averaged, buffers copied",
    ),
    "zh": ("权重", "偏置、归一化", "每步，从峰值算起", "每步", "每步：参数取平均，buffer 直接复制"),
}
STEPS = (
    "ndim > 1: decay",
    "ndim <= 1: no decay",
    "lr = rate * factor",
    "optimizer.step()",
    "average",
)
REPEATED = (2, 3, 4)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    return program(TITLE[language], list(zip(STEPS, NOTES[language], strict=True)), REPEATED)
