"""The steps of the trainer, in order."""

from vitrail.learn.drawing import Drawing

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
    drawing = Drawing(TITLE[language], 70 + 46 * len(STEPS))
    drawing.text(20, 30, TITLE[language], "bold")
    for row, (name, note) in enumerate(zip(STEPS, NOTES[language], strict=True)):
        top = 50 + row * 46
        drawing.box(20, top, 250, 34, name, "amber faint" if row in REPEATED else "glass faint")
        drawing.text(290, top + 22, note, "quiet")
    return drawing.svg()
