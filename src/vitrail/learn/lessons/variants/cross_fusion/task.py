"""`models/cross_vit.py` holds the same as `Fusion`."""

import torch

import vitrail
from vitrail.learn import Case, Swap, Task
from vitrail.models.cross_vit import Fusion


def reference(dim: int, other_dim: int, heads: int):
    return Fusion(dim, other_dim, heads, dropout=0.0, drop_path=0.0, norm_eps=1e-5)


def named(state):
    return {name.replace("mixer.", "attention."): value for name, value in state.items()}


def tokens(batch: int, dim: int, count: int, other_dim: int):
    return lambda: (torch.randn(batch, 1, dim), torch.randn(batch, count, other_dim))


def sizes(dim: int, other_dim: int, heads: int):
    return {"dim": dim, "other_dim": other_dim, "heads": heads}


def model():
    return vitrail.CrossViT(
        48, (12, 16), num_classes=3, dim=(8, 12), depth=1, heads=2, norm_eps=1e-5
    )


TASK = Task(
    subject="CrossFusion",
    cases=(
        Case("B=2, N=5, dim=6, other_dim=8", tokens(2, 6, 5, 8), sizes(6, 8, 2)),
        Case("B=1, N=3, dim=12, other_dim=9", tokens(1, 12, 3, 9), sizes(12, 9, 3)),
        Case("B=3, N=1, dim=8, other_dim=8", tokens(3, 8, 1, 8), sizes(8, 8, 4)),
    ),
    reference=reference,
    weights=named,
    swap=Swap(model, "blocks.0.fusions.0", lambda: torch.randn(2, 3, 48, 48), sizes(8, 12, 2)),
)
