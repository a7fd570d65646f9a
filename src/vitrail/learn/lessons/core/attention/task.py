"""`layers/attention.py` holds the same module."""

import torch

import vitrail
from vitrail.layers.attention import Attention
from vitrail.learn import Case, Swap, Task


def tokens(batch: int, count: int, dim: int):
    return lambda: (torch.randn(batch, count, dim),)


def model():
    return vitrail.ViT((12, 8), 4, num_classes=3, dim=24, depth=2, heads=4, mlp_dim=32)


TASK = Task(
    subject="Attention",
    cases=(
        Case("B=1, N=5, D=24, heads=4", tokens(1, 5, 24), {"dim": 24, "heads": 4}),
        Case("B=2, N=7, D=12, heads=3", tokens(2, 7, 12), {"dim": 12, "heads": 3}),
        Case("B=3, N=4, D=4, heads=1", tokens(3, 4, 4), {"dim": 4, "heads": 1}),
        Case("B=4, N=4, D=16, heads=4", tokens(4, 4, 16), {"dim": 16, "heads": 4}),
    ),
    reference=Attention,
    swap=Swap(
        model,
        "blocks.1.mixer",
        lambda: torch.randn(3, 3, 12, 8),
        {"dim": 24, "heads": 4},
    ),
)
