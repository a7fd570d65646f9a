"""`methods/linear_probe.py` keeps the backbone in evaluation mode whatever the method's mode is."""

import torch
from torch import nn

from vitrail.learn import Case, Task
from vitrail.learn.optimizers import Descent


def make_backbone():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU()).double()


def make_head():
    torch.manual_seed(2)
    return nn.Linear(6, 3).double()


def run(count: int, steps: int, rate: float):
    return lambda: (
        make_backbone, make_head, Descent,
        torch.randn(count, 4), torch.randint(3, (count,)), steps, rate,
    )  # fmt: skip


TASK = Task(
    subject="probe",
    cases=(
        Case("8 images, 3 steps", run(8, 3, 0.5)),
        Case("5 images, 6 steps", run(5, 6, 0.1)),
    ),
    gradients=False,
    dtype=False,
    meta=False,
)
