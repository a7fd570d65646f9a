"""`models/small_vit.py` holds the same layer, which also returns the grid."""

import torch
from torch import nn

import vitrail
from vitrail.learn import Case, Swap, Task
from vitrail.models.small_vit import ShiftedPatchEmbed


def reference(patch_size: int, channels: int, dim: int):
    return ShiftedPatchEmbed((patch_size, patch_size), channels, dim)


class WithGrid(nn.Module):
    """The learner's layer, called as the library calls its own."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x), (x.shape[2] // 4, x.shape[3] // 4)


def images(*shape: int):
    return lambda: (torch.randn(shape),)


def sizes(patch_size: int, channels: int, dim: int):
    return {"patch_size": patch_size, "channels": channels, "dim": dim}


def model():
    return vitrail.SmallViT((12, 8), 4, num_classes=3, dim=12, depth=1, heads=2, mlp_dim=16)


TASK = Task(
    subject="ShiftedPatchEmbed",
    cases=(
        Case("B=2, H=8, W=12, P=4", images(2, 3, 8, 12), sizes(4, 3, 5)),
        Case("B=1, H=6, W=4, P=2", images(1, 1, 6, 4), sizes(2, 1, 4)),
        Case("B=3, H=6, W=9, P=3", images(3, 2, 6, 9), sizes(3, 2, 6)),
    ),
    reference=reference,
    output=lambda output: output[0],
    swap=Swap(model, "patch_embed", lambda: torch.randn(3, 3, 12, 8), sizes(4, 3, 12), WithGrid),
)
