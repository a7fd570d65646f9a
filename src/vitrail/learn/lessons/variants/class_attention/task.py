"""In `models/cait.py` class attention is the `CrossAttention` of a `ClassAttentionBlock`."""

import torch
from torch import nn

import vitrail
from vitrail.layers.attention import CrossAttention
from vitrail.learn import Case, Swap, Task


class Reference(CrossAttention):
    """The library's attention, called with the class token as the only query."""

    def forward(self, x):
        return super().forward(x[:, :1], x)


class ByContext(nn.Module):
    """The learner's module, called with queries and context as the library's block does."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, queries, context):
        return self.module(context)


def tokens(batch: int, count: int, dim: int):
    return lambda: (torch.randn(batch, count, dim),)


def model():
    return vitrail.CaiT((12, 8), 4, num_classes=3, dim=12, depth=1, heads=3, mlp_dim=16)


TASK = Task(
    subject="ClassAttention",
    cases=(
        Case("B=2, N=4, D=12, heads=3", tokens(2, 5, 12), {"dim": 12, "heads": 3}),
        Case("B=1, N=6, D=8, heads=2", tokens(1, 7, 8), {"dim": 8, "heads": 2}),
        Case("B=3, N=1, D=4, heads=1", tokens(3, 2, 4), {"dim": 4, "heads": 1}),
    ),
    reference=Reference,
    swap=Swap(
        model,
        "class_blocks.1.mixer",
        lambda: torch.randn(3, 3, 12, 8),
        {"dim": 12, "heads": 3},
        adapt=ByContext,
    ),
)
