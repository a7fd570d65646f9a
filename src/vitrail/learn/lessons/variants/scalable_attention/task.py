"""`models/scalable_vit.py` holds the same module."""

import torch

import vitrail
from vitrail.learn import Case, Swap, Task
from vitrail.learn.task import renamed
from vitrail.models.scalable_vit import ScalableAttention


def reference(dim: int, heads: int, ratio: int, key_dim: int):
    return ScalableAttention(dim, heads, ratio, key_dim, dropout=0.0, norm_eps=1e-5)


def maps(batch: int, height: int, width: int, dim: int):
    return lambda: (torch.randn(batch, height, width, dim),)


def sizes(dim: int, heads: int, ratio: int, key_dim: int):
    return {"dim": dim, "heads": heads, "ratio": ratio, "key_dim": key_dim}


def model():
    return vitrail.ScalableViT(
        16, 4, num_classes=3, dim=(8, 8), depth=(2, 2), heads=(2, 2), reduction=(2, 1),
        key_ratio=(1.5, 1.0), window=2, head_dim=0, norm_eps=1e-5,
    )  # fmt: skip


TASK = Task(
    subject="ScalableAttention",
    cases=(
        Case("B=2, H=4, W=6, D=8, key_dim=12", maps(2, 4, 6, 8), sizes(8, 2, 2, 12)),
        Case("B=1, H=3, W=6, D=9, key_dim=6", maps(1, 3, 6, 9), sizes(9, 3, 3, 6)),
        Case("B=2, H=2, W=4, D=4, key_dim=8", maps(2, 2, 4, 4), sizes(4, 1, 2, 8)),
    ),
    reference=reference,
    weights=renamed(scale__weight="widen.weight", scale__bias="widen.bias"),
    swap=Swap(
        model, "blocks.0.blocks.1.mixer", lambda: torch.randn(2, 3, 16, 16), sizes(8, 2, 2, 12)
    ),
)
