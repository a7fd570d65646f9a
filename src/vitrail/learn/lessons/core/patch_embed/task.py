"""`layers/patch.py` holds the same layer, which also returns the grid."""

import torch
from torch import nn

import vitrail
from vitrail.layers.patch import PatchEmbed
from vitrail.learn import Case, Swap, Task
from vitrail.learn.task import renamed


def images(*shape: int):
    return lambda: (torch.randn(shape),)


def sizes(patch_size: int, channels: int, dim: int):
    return {"patch_size": patch_size, "channels": channels, "dim": dim}


def model():
    return vitrail.ViT((12, 8), 4, num_classes=3, dim=12, depth=1, heads=2, mlp_dim=16)


class WithGrid(nn.Module):
    """The learner's layer, called as the library calls its own."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x), (x.shape[2] // 4, x.shape[3] // 4)


TASK = Task(
    subject="PatchEmbed",
    cases=(
        Case("B=1, 8 x 8, P=4", images(1, 3, 8, 8), sizes(4, 3, 5)),
        Case("B=3, 6 x 10, P=2", images(3, 1, 6, 10), sizes(2, 1, 4)),
        Case("B=2, 9 x 3, P=3", images(2, 4, 9, 3), sizes(3, 4, 6)),
    ),
    reference=lambda patch_size, channels, dim: PatchEmbed((patch_size,) * 2, channels, dim),
    weights=renamed(weight="proj.weight", bias="proj.bias"),
    output=lambda output: output[0],
    swap=Swap(
        model,
        "patch_embed",
        lambda: torch.randn(3, 3, 12, 8),
        sizes(4, 3, 12),
        adapt=WithGrid,
    ),
)
