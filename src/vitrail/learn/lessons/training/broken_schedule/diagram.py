"""The steps of the trainer, in order."""

from vitrail.learn.drawing import program

TITLE = {"en": "Two loops, and what belongs into which", "zh": "两层循环，各放什么"}
NOTES = {
    "en": (
        "once: made for all steps",
        "once per epoch",
        "once per batch",
        "once per batch",
        "once per batch, after the optimizer",
    ),
    "zh": (
        "一次：按总步数构造",
        "每轮一次",
        "每个 batch 一次",
        "每个 batch 一次",
        "每个 batch 一次，在优化器之后",
    ),
}
STEPS = (
    "schedule(epochs * batches)",
    "randperm",
    "backward",
    "optimizer.step()",
    "schedule.step()",
)
REPEATED = (2, 3, 4)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    return program(TITLE[language], list(zip(STEPS, NOTES[language], strict=True)), REPEATED)
