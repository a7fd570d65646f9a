"""`Trainer` of `train/trainer.py` steps its schedule with the optimizer."""

import math

import torch
from torch import nn

from vitrail.learn import Case, Task
from vitrail.learn.optimizers import Descent, FactorSchedule


def make_model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def make_optimizer(parameters):
    return Descent(parameters, lr=0.5)


def make_schedule(optimizer, steps):
    return FactorSchedule(optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)


def run(count: int, epochs: int, batch_size: int, seed: int):
    return lambda: (
        make_model, make_optimizer, make_schedule,
        torch.randn(count, 4), torch.randint(3, (count,)), epochs, batch_size, seed,
    )  # fmt: skip


TASK = Task(
    subject="train",
    cases=(
        Case("6 images, batches of 3, 2 epochs", run(6, 2, 3, 5)),
        Case("7 images, batches of 3, 3 epochs", run(7, 3, 3, 6)),
    ),
    gradients=False,
    dtype=False,
    meta=False,
)
