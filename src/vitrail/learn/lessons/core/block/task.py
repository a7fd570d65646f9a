"""`layers/block.py` holds the same block, whose attention is called mixer."""

import torch
from torch import nn

import vitrail
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block
from vitrail.layers.mlp import Mlp
from vitrail.learn import Case, Swap, Task


def tokens(*shape: int):
    return lambda: (torch.randn(shape),)


def library_block(dim: int, heads: int, mlp_dim: int) -> nn.Module:
    return Block(dim, Attention(dim, heads), Mlp(dim, mlp_dim))


def model():
    return vitrail.ViT((12, 8), 4, num_classes=3, dim=12, depth=2, heads=2, mlp_dim=20)


TASK = Task(
    subject="Block",
    cases=(
        Case("B=1, N=5, D=8", tokens(1, 5, 8), {"dim": 8, "heads": 2, "mlp_dim": 12}),
        Case("B=3, N=4, D=6", tokens(3, 4, 6), {"dim": 6, "heads": 3, "mlp_dim": 6}),
    ),
    reference=library_block,
    weights=lambda state: {name.replace("mixer.", "attn."): value for name, value in state.items()},
    swap=Swap(
        model,
        "blocks.1",
        lambda: torch.randn(3, 3, 12, 8),
        {"dim": 12, "heads": 2, "mlp_dim": 20},
    ),
)
