"""Nothing of the library: matrix products, sums and permutations."""

import torch

from vitrail.learn import Case, Task


def inputs(batch: int, count: int, others: int, dim: int, out: int, heads: int):
    return lambda: (
        torch.randn(batch, count, dim),
        torch.randn(batch, others, dim),
        torch.randn(batch, heads, count, 2),
        torch.randn(dim, out),
    )


def reference(x, y, heads, weight):
    return x @ weight, x @ y.transpose(1, 2), x.sum(dim=1), heads.permute(0, 2, 1, 3)


TASK = Task(
    subject="contractions",
    cases=(
        Case("B=2, N=3, M=4, D=5, K=6, H=2", inputs(2, 3, 4, 5, 6, 2)),
        Case("B=3, N=M=D=K=H=3", inputs(3, 3, 3, 3, 3, 3)),
        Case("B=1, N=1, M=2", inputs(1, 1, 2, 4, 2, 1)),
    ),
    reference=reference,
)
