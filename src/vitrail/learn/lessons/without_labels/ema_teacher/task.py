"""`methods/ema_teacher.py` updates modules in place."""

import math

import torch
from torch import nn

from vitrail.learn import Case, Claim, Task
from vitrail.methods.ema_teacher import EMATeacher


def weights(step: int, steps: int, base: float):
    def draw():
        return *({"a": torch.randn(3, 2), "b": torch.randn(4)} for _ in range(2)), step, steps, base

    return draw


def reference(teacher, student, step, steps, base):
    share = (1 - base) * math.cos(math.pi * step / steps / 2) ** 2  # of the student
    return {
        name: (teacher[name] + share * (student[name] - teacher[name])).detach() for name in teacher
    }


def in_the_library(ema_step):
    """A layer's weights, by the learner's function and by Vitrail's teacher."""
    torch.manual_seed(0)
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    own = ema_step(dict(first.named_parameters()), dict(second.named_parameters()), 0, 100, 0.9)
    teacher = EMATeacher({"layer": first})
    teacher.update({"layer": second}, momentum=0.9)
    state = teacher.state_dict()
    return [[own["weight"], own["bias"]], sorted(value.sum().item() for value in state.values())]


TASK = Task(
    subject="ema_step",
    cases=(
        Case("the first step", weights(0, 100, 0.996)),
        Case("a quarter of the way", weights(25, 100, 0.5)),
        Case("the last step: momentum 1", weights(10, 10, 0.9)),
        Case("step 3 of 7", weights(3, 7, 0.0)),
    ),
    reference=reference,
    claims=(
        Claim(
            "A layer's weights become those that the library's teacher has.",
            "一层的权重应与库中教师更新后的相同。",
            in_the_library,
            stage="swap",
        ),
    ),
)
