"""`models/small_vit.py` holds the temperature as `LocalityAttend`; the model gives the mask."""

import torch
from torch import nn

import vitrail
from vitrail.layers.attention import Attention
from vitrail.learn import Case, Swap, Task
from vitrail.learn.task import renamed
from vitrail.models.small_vit import LocalityAttend


class Reference(Attention):
    """The library's attention, called with the mask that the model makes."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads, bias=False, attend=LocalityAttend(heads, dim // heads))

    def forward(self, x):
        return super().forward(x, None, x.new_full((x.shape[1],), -torch.inf).diag())


class WithoutMask(nn.Module):
    """The learner's module, which makes its own mask, called as the library's block does."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x, *rotation_and_mask):
        return self.module(x)


def tokens(batch: int, count: int, dim: int):
    return lambda: (torch.randn(batch, count, dim),)


def sizes(dim: int, heads: int):
    return {"dim": dim, "heads": heads}


def model():
    return vitrail.SmallViT((12, 8), 4, num_classes=3, dim=12, depth=2, heads=3, mlp_dim=16)


TASK = Task(
    subject="LocalityAttention",
    cases=(
        Case("B=2, N=5, D=12, heads=3", tokens(2, 5, 12), sizes(12, 3)),
        Case("B=1, N=4, D=16, heads=4", tokens(1, 4, 16), sizes(16, 4)),
        Case("B=3, N=2, D=6, heads=1", tokens(3, 2, 6), sizes(6, 1)),
    ),
    reference=Reference,
    weights=renamed(attend__temperature="temperature"),
    swap=Swap(model, "blocks.1.mixer", lambda: torch.randn(3, 3, 12, 8), sizes(12, 3), WithoutMask),
)
