"""`layers/relative_position.py` holds the same module."""

import torch

import vitrail
from vitrail.layers.relative_position import RelativeBias
from vitrail.learn import Case, Swap, Task


def sizes(h: int, w: int, heads: int):
    return {"window": (h, w), "heads": heads}


def model():
    return vitrail.Swin((24, 16), 4, num_classes=3, dim=(8,), depth=(2,), heads=(2,), window=(3, 2))


TASK = Task(
    subject="RelativeBias",
    cases=(
        Case("window=(2, 3), heads=2", tuple, sizes(2, 3, 2)),
        Case("window=(4, 2), heads=3", tuple, sizes(4, 2, 3)),
        Case("window=(1, 4), heads=1", tuple, sizes(1, 4, 1)),
        Case("window=(3, 3), heads=4", tuple, sizes(3, 3, 4)),
    ),
    reference=RelativeBias,
    swap=Swap(
        model, "blocks.0.blocks.1.mixer.bias", lambda: torch.randn(2, 3, 24, 16), sizes(3, 2, 2)
    ),
)
