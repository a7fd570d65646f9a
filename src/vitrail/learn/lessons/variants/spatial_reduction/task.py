"""`layers/spatial_reduction.py` holds the same as `ReducedAttention`."""

import torch

import vitrail
from vitrail.layers.spatial_reduction import ReducedAttention, spatial_reduction
from vitrail.learn import Case, Swap, Task

NAMES = {
    "reduce.conv.": "reduce.",
    "reduce.norm.": "norm.",
    "attention.q.": "q.",
    "attention.kv.": "kv.",
    "attention.proj.": "proj.",
}


def reference(dim: int, heads: int, ratio: int):
    return ReducedAttention(dim, heads, spatial_reduction(dim, ratio))


def named(state):
    names = {name: name.rpartition(".") for name in state}
    return {NAMES[a + "."] + c: state[name] for name, (a, _, c) in names.items()}


def maps(batch: int, height: int, width: int, dim: int):
    return lambda: (torch.randn(batch, height, width, dim),)


def sizes(dim: int, heads: int, ratio: int):
    return {"dim": dim, "heads": heads, "ratio": ratio}


def model():
    return vitrail.PVT(
        (32, 16), 4, num_classes=3, dim=(8, 8), depth=(1, 1), heads=(2, 2), mlp_ratio=(2, 2),
        reduction=(2, 1),
    )  # fmt: skip


TASK = Task(
    subject="SpatialReductionAttention",
    cases=(
        Case("B=2, H=4, W=6, ratio=2", maps(2, 4, 6, 8), sizes(8, 2, 2)),
        Case("B=1, H=6, W=3, ratio=3", maps(1, 6, 3, 6), sizes(6, 3, 3)),
        Case("B=3, H=4, W=4, ratio=4", maps(3, 4, 4, 4), sizes(4, 1, 4)),
    ),
    reference=reference,
    weights=named,
    swap=Swap(model, "blocks.0.blocks.0.mixer", lambda: torch.randn(2, 3, 32, 16), sizes(8, 2, 2)),
)
