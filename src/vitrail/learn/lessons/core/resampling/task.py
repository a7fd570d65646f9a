"""`PositionTable` in `layers/position.py` resamples so when it is called with another grid."""

import torch

from vitrail.layers.position import resize_positions
from vitrail.learn import Case, Task


def reference(table, old, new):
    return torch.cat([table[:, :1], resize_positions(table[:, 1:], old, new)], dim=1)


def grids(old: tuple[int, int], new: tuple[int, int], dim: int):
    return lambda: (torch.randn(1, 1 + old[0] * old[1], dim), old, new)


TASK = Task(
    subject="resample",
    cases=(
        Case("3 x 4 -> 6 x 5, D=3", grids((3, 4), (6, 5), 3)),
        Case("3 x 5 -> 5 x 3, D=4", grids((3, 5), (5, 3), 4)),
        Case("6 x 6 -> 3 x 3, D=2", grids((6, 6), (3, 3), 2)),
    ),
    reference=reference,
    meta=False,
)
