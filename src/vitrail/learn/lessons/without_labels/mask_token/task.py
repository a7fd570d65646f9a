"""`add_mask_token` of `methods/masking.py` does the same on any stem."""

import torch

from vitrail.learn import Case, Task


def tokens(batch: int, count: int, dim: int):
    return lambda: (torch.randn(batch, count, dim), (torch.rand(batch, count) < 0.6).long())


TASK = Task(
    subject="MaskedEmbedding",
    cases=(
        Case("B=2, N=9, D=4", tokens(2, 9, 4), {"dim": 4, "patches": 9}),
        Case("B=1, N=6, D=8", tokens(1, 6, 8), {"dim": 8, "patches": 6}),
        Case("B=3, N=1, D=2", tokens(3, 1, 2), {"dim": 2, "patches": 1}),
    ),
)
