"""`layers/mlp.py` holds the same module."""

import torch

import vitrail
from vitrail.layers.mlp import Mlp
from vitrail.learn import Case, Swap, Task


def tokens(*shape: int):
    return lambda: (torch.randn(shape),)


def model():
    return vitrail.ViT((12, 8), 4, num_classes=3, dim=12, depth=2, heads=2, mlp_dim=20)


TASK = Task(
    subject="Mlp",
    cases=(
        Case("B=1, N=5, D=6, hidden_dim=24", tokens(1, 5, 6), {"dim": 6, "hidden_dim": 24}),
        Case("B=3, N=4, D=5, hidden_dim=7", tokens(3, 4, 5), {"dim": 5, "hidden_dim": 7}),
    ),
    reference=Mlp,
    swap=Swap(
        model, "blocks.1.mlp", lambda: torch.randn(3, 3, 12, 8), {"dim": 12, "hidden_dim": 20}
    ),
)
