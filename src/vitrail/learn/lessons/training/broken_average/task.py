"""`train/optim.py` has the groups and the average, `train/schedule.py` the warm-up."""

import torch
from torch import nn

from vitrail.learn import Case, Task
from vitrail.learn.optimizers import Descent


def make_model():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)
    ).double()  # fmt: skip


def run(count: int, steps: int, warmup: int, rate: float):
    return lambda: (
        make_model, Descent,
        torch.randn(count, 4), torch.randint(3, (count,)), steps, warmup, rate,
    )  # fmt: skip


TASK = Task(
    subject="train",
    cases=(
        Case("8 images, 6 steps, warm-up of 4", run(8, 6, 4, 0.05)),
        Case("5 images, 3 steps, warm-up of 2", run(5, 3, 2, 0.01)),
    ),
    gradients=False,
    dtype=False,
    meta=False,
)
