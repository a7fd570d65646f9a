"""`cosine` of `train/schedule.py` gives the factor on the learning rate."""

from vitrail.learn import Case, Claim, Task
from vitrail.train.schedule import cosine


def run(step: int, steps: int, warmup: int, peak: float = 1e-3, lowest: float = 1e-5):
    return lambda: (step, steps, warmup, peak * 1000, lowest * 1000)  # where differences show


def reference(step, steps, warmup, peak, lowest):
    return peak * cosine(step, steps, warmup / steps, lowest / peak)


def whole_run(learning_rate):
    """All rates of a run of 40 steps, 5 of them warm-up, beside the library's schedule."""
    return [learning_rate(step, 40, 5, 3e-4, 3e-6) * 1e4 for step in range(40)]


TASK = Task(
    subject="learning_rate",
    cases=(
        Case("the first step", run(0, 100, 5)),
        Case("within the warm-up", run(3, 100, 8)),
        Case("the last step of the warm-up", run(4, 100, 5)),
        Case("the first step after it", run(5, 100, 5)),
        Case("half of the way", run(52, 100, 4)),
        Case("the last step", run(99, 100, 5)),
        Case("no warm-up", run(7, 20, 0)),
    ),
    reference=reference,
    gradients=False,
    dtype=False,
    meta=False,
    claims=(Claim("All rates of a run agree.", "整个训练过程的学习率应一致。", whole_run),),
)
