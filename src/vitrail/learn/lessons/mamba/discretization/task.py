"""`ops/selective_scan/reference.py` does this inside `scan_states`."""

import torch

from vitrail.learn import Case, Claim, Task
from vitrail.ops.selective_scan.reference import Scan, selective_scan_reference


def tokens(batch: int, length: int, dim: int, states: int):
    return lambda: (
        torch.randn(batch, length, dim),
        torch.randn(dim),
        torch.rand(dim, states),
        torch.randn(batch, length, states),
        torch.randn(batch, length, dim),
    )


def recurrence(discretize):
    """The library's scan, and the recurrence over the learner's two tensors."""
    torch.manual_seed(0)
    delta, bias, A_log, B, u = (t.double() for t in tokens(2, 5, 3, 4)())
    decay, entered = discretize(delta, bias, A_log, B, u)
    state, states = torch.zeros(2, 3, 4, dtype=torch.float64), []
    for t in range(5):
        state = decay[:, t] * state + entered[:, t]
        states.append(state.sum(-1))
    ones, none = torch.ones_like(B)[None], torch.zeros(1, 3)
    scan = Scan(u[None], delta[None], -A_log.exp()[None], B[None], ones, none, bias[None], None)
    return torch.stack(states, 1) - selective_scan_reference(scan, [False])


TASK = Task(
    subject="discretize",
    cases=(
        Case("B=2, L=5, D=3, N=4", tokens(2, 5, 3, 4)),
        Case("B=1, L=3, D=3, N=3", tokens(1, 3, 3, 3)),
        Case("B=4, L=1, D=2, N=1", tokens(4, 1, 2, 1)),
    ),
    claims=(
        Claim(
            "The recurrence over your two tensors gives the states of the library's scan.",
            "用你的两个张量做递推，应得到与库中扫描相同的状态。",
            recurrence,
            stage="swap",
        ),
    ),
)
