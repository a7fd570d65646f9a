"""`train/checkpoint.py` keeps the same, in files."""

import torch

from vitrail.learn import Case, Task
from vitrail.learn.optimizers import Descent, FactorSchedule


def make_optimizer(parameters):
    return Descent(parameters, lr=0.05)


def make_schedule(optimizer):
    return FactorSchedule(optimizer, lambda step: min(1.0, (step + 1) / 3) / (1 + 0.1 * step))


def run(count: int, first: int, second: int):
    return lambda: (
        torch.randn(count, 3), torch.randn(count), make_optimizer, make_schedule, first, second
    )  # fmt: skip


TASK = Task(
    subject="interrupted",
    cases=(
        Case("6 images, 4 steps, then 5", run(6, 4, 5)),
        Case("8 images, 1 step, then 7", run(8, 1, 7)),
    ),
    gradients=False,
    dtype=False,
    meta=False,
)
