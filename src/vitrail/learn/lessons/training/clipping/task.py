"""`torch.nn.utils.clip_grad_norm_`, which `optim.clip` calls."""

import torch
from torch import nn

from vitrail.learn import Case, Claim, Task


def gradients(*shapes, size: float = 1.0, none: int = -1):
    def draw():
        tensors = [size * torch.randn(shape) for shape in shapes]
        return [None if i == none else t for i, t in enumerate(tensors)], 1.0

    return draw


def reference(gradients, max_norm):
    parameters = [nn.Parameter(torch.zeros(1) if g is None else g.detach()) for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else gradient.detach().clone()
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    return norm, [parameter.grad for parameter in parameters]


def direction(clip):
    """Each number divided by its old value: one factor."""
    before = [torch.tensor([3.0, -1.0]), torch.tensor([[0.5], [8.0]])]
    _norm, after = clip([g.clone() for g in before], 2.0)
    return [(a / b).flatten() for a, b in zip(after, before, strict=True)]


TASK = Task(
    subject="clip",
    cases=(
        Case("3 tensors, clipped", gradients((3, 4), (5,), (1, 2, 2))),
        Case("a frozen parameter", gradients((2, 3), (4,), (3,), none=1)),
        Case("small gradients: nothing is clipped", gradients((2,), (2, 2), size=0.1)),
        Case("gradients of 0", gradients((2,), (3,), size=0.0)),
    ),
    reference=reference,
    gradients=False,
    claims=(Claim("All numbers shrink by one factor.", "所有数值按同一系数缩小。", direction),),
)
