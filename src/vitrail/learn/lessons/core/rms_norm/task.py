"""`layers/norm.py` holds the same norm; Vision Mamba and `ViT(norm="rms")` use it."""

import torch

import vitrail
from vitrail.layers.norm import RMSNorm
from vitrail.learn import Case, Swap, Task


def tokens(*shape: int, scale: float = 1.0, shift: float = 0.0):
    return lambda: (scale * torch.randn(shape) + shift,)


def model():
    return vitrail.ViT((12, 8), 4, 3, dim=12, depth=2, heads=2, mlp_dim=16, norm="rms")


TASK = Task(
    subject="RootNorm",
    cases=(
        Case("B=2, N=3, D=4", tokens(2, 3, 4, shift=1.0), {"dim": 4}),
        Case("B=1, N=1, D=5", tokens(1, 1, 5), {"dim": 5}),
        Case("0.05 x, eps=0.01", tokens(2, 5, 6, scale=0.05), {"dim": 6, "eps": 0.01}),
    ),
    reference=lambda dim, eps=1e-6: RMSNorm(dim, eps=eps),
    swap=Swap(model, "blocks.1.norm1", lambda: torch.randn(3, 3, 12, 8), {"dim": 12}),
)
