import math

import torch
from torch import Tensor


def ema_step(
    teacher: dict[str, Tensor], student: dict[str, Tensor], step: int, steps: int, base: float
) -> dict[str, Tensor]:
    """Weights by name, step 0 to steps, momentum at the start -> the teacher's new weights"""
    # <write>
    # en: 1. The momentum rises from `base` to 1 by half a cosine.
    # zh: 1. 动量沿半个余弦从 base 升到 1。
    momentum = 1 - (1 - base) * (1 + math.cos(math.pi * step / steps)) / 2
    # en: 2. New weights: momentum times the teacher's, the rest from the student, without gradient.
    # zh: 2. 新权重：教师占 momentum，其余来自学生；不传梯度。
    new = {}
    with torch.no_grad():
        for name in teacher:
            new[name] = momentum * teacher[name] + (1 - momentum) * student[name]
    return new
    # </write>
