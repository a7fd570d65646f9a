"""`layers/norm.py` holds the same norm, for a residual stream in float32."""

import torch

import vitrail
from vitrail.layers.norm import LayerNorm
from vitrail.learn import Case, Swap, Task


def tokens(*shape: int, scale: float = 1.0, shift: float = 0.0):
    return lambda: (scale * torch.randn(shape) + shift,)


def model():
    return vitrail.ViT((12, 8), 4, num_classes=3, dim=12, depth=2, heads=2, mlp_dim=16)


TASK = Task(
    subject="Norm",
    cases=(
        Case("B=2, N=3, D=4", tokens(2, 3, 4), {"dim": 4}),
        Case("B=1, N=1, D=5", tokens(1, 1, 5), {"dim": 5}),
        Case("B=3, N=3, D=3, x + 5", tokens(3, 3, 3, scale=2.0, shift=5.0), {"dim": 3}),
        Case("0.05 x, eps=0.01", tokens(2, 5, 6, scale=0.05), {"dim": 6, "eps": 0.01}),
    ),
    reference=lambda dim, eps=1e-6: LayerNorm(dim, eps=eps),
    swap=Swap(model, "blocks.0.norm2", lambda: torch.randn(3, 3, 12, 8), {"dim": 12}),
)
