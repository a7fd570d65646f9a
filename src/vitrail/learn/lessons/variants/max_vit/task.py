"""`partition` of `layers/window.py` makes grids with `spread=True`."""

import torch

from vitrail.layers.window import partition, unpartition
from vitrail.learn import Case, Claim, Task


def block_mix(groups):
    """Depends on the order of the cells in a group and of the groups."""
    number = torch.arange(len(groups), device=groups.device)[:, None, None]
    return groups.cumsum(dim=1) + groups.tanh() * number


def grid_mix(groups):
    """Another such function."""
    number = torch.arange(len(groups), device=groups.device)[:, None, None]
    return groups.flip(1).cumsum(dim=1) - groups.sin() * number


def maps(batch: int, height: int, width: int, size: tuple[int, int]):
    return lambda: (torch.randn(batch, height, width, 2), size, block_mix, grid_mix)


def reference(x, size, block_mix, grid_mix):
    for mix, spread in ((block_mix, False), (grid_mix, True)):
        groups = mix(partition(x, size, spread=spread))
        x = x + unpartition(groups, size, (x.shape[1], x.shape[2]), spread=spread)
    return x


def reach(multi_axis):
    """Which cells of an 8 x 8 map one cell reaches by both attentions."""
    x = torch.zeros(1, 8, 8, 1)
    x[0, 3, 5] = 1
    return multi_axis(x, (4, 4), *[lambda g: g.sum(1, keepdim=True).expand_as(g)] * 2) > 0


TASK = Task(
    subject="multi_axis",
    cases=(
        Case("B=2, H=4, W=6, size=(2, 2)", maps(2, 4, 6, (2, 2))),
        Case("B=1, H=6, W=8, size=(3, 2)", maps(1, 6, 8, (3, 2))),
        Case("B=2, H=3, W=8, size=(1, 4)", maps(2, 3, 8, (1, 4))),
    ),
    reference=reference,
    claims=(
        Claim(
            "One cell of an 8 x 8 map reaches all others by both attentions together.",
            "两种注意力合起来，8 x 8 特征图的一个格子能影响所有格子。",
            reach,
        ),
    ),
)
