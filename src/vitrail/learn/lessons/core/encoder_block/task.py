"""`layers/block.py` is the same block, whose parts have other names."""

import torch

import vitrail
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block
from vitrail.layers.mlp import Mlp
from vitrail.learn import Case, Swap, Task

NAMES = {"mixer.": "attention.", "mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.2."}


def tokens(*shape: int):
    return lambda: (torch.randn(shape),)


def rename(state):
    renamed = {}
    for name, value in state.items():
        for old, new in NAMES.items():
            name = name.replace(old, new)
        renamed[name] = value
    return renamed


TASK = Task(
    subject="EncoderBlock",
    cases=(
        Case("B=1, N=5, D=8", tokens(1, 5, 8), {"dim": 8, "heads": 2, "mlp_dim": 12}),
        Case("B=3, N=4, D=6", tokens(3, 4, 6), {"dim": 6, "heads": 3, "mlp_dim": 6}),
    ),
    reference=lambda dim, heads, mlp_dim: Block(dim, Attention(dim, heads), Mlp(dim, mlp_dim)),
    weights=rename,
    swap=Swap(
        lambda: vitrail.ViT((12, 8), 4, num_classes=3, dim=12, depth=2, heads=2, mlp_dim=20),
        "blocks.0",
        lambda: torch.randn(3, 3, 12, 8),
        {"dim": 12, "heads": 2, "mlp_dim": 20},
    ),
)
