"""`layers/block.py` holds both, as `LayerScale` and `DropPath`."""

import torch
from torch import Tensor, nn

from vitrail.layers.block import DropPath, LayerScale
from vitrail.learn import Case, Claim, Task
from vitrail.learn.task import renamed


class LibraryBranch(nn.Module):
    """LayerScale, then DropPath, as a block applies them."""

    def __init__(self, dim: int, rate: float, initial: float = 1e-5) -> None:
        super().__init__()
        self.scale = LayerScale(dim, initial)
        self.drop_path = DropPath(rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop_path(self.scale(x))


def tokens(*shape: int):
    return lambda: (torch.randn(shape),)


def trained(branch, rate: float) -> Tensor:
    """The outputs for 4,000 samples of ones, gamma 1, in training mode."""
    with torch.no_grad():
        return branch(3, rate, 1.0).train()(torch.ones(4000, 2, 3))


def per_sample(branch) -> list[float]:
    """Number of samples in which some numbers are dropped and others are not; values that occur."""
    output = trained(branch, 0.25).flatten(1)
    mixed = (output.amin(1) != output.amax(1)).sum()
    values = sorted({round(float(v), 4) for v in output.flatten().unique()})
    return [float(mixed), float(len(values)), *values[:4]]


def share(branch) -> float:
    """Share of samples that remain."""
    return float((trained(branch, 0.25) != 0).double().mean())


def initial_values(branch) -> float:
    return float(branch(4, 0.0).gamma.detach().double().sum())


def mean(branch) -> float:
    return float(trained(branch, 0.25).double().mean())


TASK = Task(
    subject="Branch",
    cases=(
        Case("B=1, N=5, D=4", tokens(1, 5, 4), {"dim": 4, "rate": 0.3}),
        Case("B=3, N=2, D=3, rate=0", tokens(3, 2, 3), {"dim": 3, "rate": 0.0, "initial": 0.1}),
    ),
    reference=LibraryBranch,
    weights=renamed(scale__gamma="gamma"),
    deterministic=False,
    claims=(
        Claim(
            "gamma starts at `initial`, by default 1e-5.",
            "gamma 的初始值是 initial，默认 1e-5。",
            initial_values,
            tolerance=1e-9,
        ),
        Claim(
            "In training each sample is dropped as a whole (0) or grows by 1 / (1 - rate).",
            "训练时，每个样本要么整个丢弃（为 0），要么乘以 1 / (1 - rate)。",
            per_sample,
            tolerance=1e-3,
        ),
        Claim(
            "In training a share of 1 - rate remains.",
            "训练时，保留的比例应是 1 - rate。",
            share,
            tolerance=0.05,
        ),
        Claim(
            "The mean over many samples is that of evaluation.",
            "大量样本的平均值应与推理时一致。",
            mean,
            tolerance=0.06,
        ),
    ),
)
