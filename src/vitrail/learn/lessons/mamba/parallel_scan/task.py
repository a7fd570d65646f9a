"""The same numbers as the loop of the last lesson; the kernels do it in blocks."""

import torch
from torch.overrides import TorchFunctionMode

from vitrail.learn import Case, Claim, Task


def steps(batch: int, length: int, dim: int):
    return lambda: (torch.rand(batch, length, dim) + 0.3, torch.randn(batch, length, dim))


def one_after_the_other(decay, entered):
    state, states = torch.zeros_like(entered[:, 0]), []
    for t in range(entered.shape[1]):
        state = decay[:, t] * state + entered[:, t]
        states.append(state)
    return torch.stack(states, dim=1)


class Counting(TorchFunctionMode):
    """Counts multiplications, of whatever size.

    A mode below autograd would see more, and costs a second: it imports PyTorch's compiler.
    """

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "").strip("_")
        self.count += name in ("mul", "rmul", "imul", "multiply", "addcmul", "einsum", "lerp")
        return func(*args, **(kwargs or {}))


def is_parallel(parallel_scan):
    """Whether 256 tokens take far fewer multiplications than 256."""
    torch.manual_seed(0)
    with Counting() as counting:
        parallel_scan(torch.rand(1, 256, 1), torch.randn(1, 256, 1))
    return counting.count <= 64


TASK = Task(
    subject="parallel_scan",
    cases=(
        Case("B=2, L=8, D=3", steps(2, 8, 3)),
        Case("B=1, L=13, D=2: L is no power of 2", steps(1, 13, 2)),
        Case("B=3, L=1, D=4: a single token", steps(3, 1, 4)),
        Case("B=2, L=2, D=2", steps(2, 2, 2)),
    ),
    reference=one_after_the_other,
    claims=(
        Claim(
            "256 tokens take about 2 · log2(256) = 16 multiplications of whole tensors, not one "
            "per token.",
            "256 个 token 只需约 2 · log2(256) = 16 次整张量乘法，而不是每个 token 一次。",
            is_parallel,
        ),
    ),
)
