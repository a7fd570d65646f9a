"""`selective_scan_reference` of `ops/selective_scan/reference.py`, which discretizes too."""

import torch

from vitrail.learn import Case, Claim, Task
from vitrail.ops.selective_scan.reference import Scan, selective_scan_reference


def inputs(batch: int, length: int, dim: int, states: int):
    return lambda: (
        torch.rand(batch, length, dim, states),
        torch.randn(batch, length, dim, states),
        torch.randn(batch, length, states),
        torch.randn(dim),
        torch.randn(batch, length, dim),
    )


def in_the_library(selective_scan):
    """The library's scan, discretization included, and the learner's over the same numbers."""
    torch.manual_seed(0)
    u, delta = torch.randn(2, 2, 6, 3).double()
    B, C = torch.randn(2, 2, 6, 4).double()
    A, D = -torch.rand(3, 4).double(), torch.randn(3).double()
    step = torch.nn.functional.softplus(delta)
    decay = torch.exp(step[..., None] * A)
    y = selective_scan(decay, (step * u)[..., None] * B[:, :, None], C, D, u)
    none = torch.zeros(1, 3)
    scan = Scan(u[None], delta[None], A[None], B[None], C[None], D[None], none, None)
    return y - selective_scan_reference(scan, [False])


TASK = Task(
    subject="selective_scan",
    cases=(
        Case("B=2, L=5, D=3, N=4", inputs(2, 5, 3, 4)),
        Case("B=3, L=3, D=3, N=3", inputs(3, 3, 3, 3)),
        Case("B=1, L=1, D=2, N=2: a single token", inputs(1, 1, 2, 2)),
    ),
    claims=(
        Claim(
            "The library's selective scan gives the same outputs.",
            "应与库中的选择性扫描得到相同的输出。",
            in_the_library,
            stage="swap",
        ),
    ),
)
