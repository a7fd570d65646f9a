"""`rotation` and `rotate` in `layers/position.py`; the tables are in float32 there."""

import torch

from vitrail.layers.position import rotate
from vitrail.learn import Case, Claim, Task


def reference(x, height: int, width: int, theta: float = 100.0):
    """`vitrail.layers.position.rotate` with the tables of its `rotation`, in the dtype of x."""
    d = x.shape[-1]
    omega = theta ** -(torch.arange(0, d // 2, 2, dtype=torch.float64) / (d // 2))
    grid = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    angles = torch.cat([torch.outer(axis.flatten().double(), omega) for axis in grid], dim=1)
    angles = angles.repeat_interleave(2, dim=1)
    return rotate(x, (angles.cos(), angles.sin()))


def heads(batch: int, count: int, tokens: int, d: int):
    return lambda: (torch.randn(batch, count, tokens, d),)


def relative(function) -> list[float]:
    """Products of the same query and key, one row apart, at three positions: all the same."""
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    grid = (5, 3)
    queries, keys = (function(t.expand(1, 1, 15, 8), *grid)[0, 0] for t in (q, k))
    products = [float(queries[n] @ keys[n + 3]) for n in (0, 4, 9)]
    return [round(max(products) - min(products), 6), round(products[0], 6)]


TASK = Task(
    subject="rotate",
    cases=(
        Case("B=1, 2 x 3, d=8", heads(1, 1, 6, 8), {"height": 2, "width": 3}),
        Case("B=2, heads=3, 4 x 1, d=4", heads(2, 3, 4, 4), {"height": 4, "width": 1}),
        Case(
            "B=1, 3 x 3, d=12, T=10",
            heads(1, 2, 9, 12),
            {"height": 3, "width": 3, "theta": 10.0},
        ),
    ),
    reference=reference,
    claims=(
        Claim(
            "The product of a query and a key depends only on how far apart they are.",
            "query 与 key 的点积只取决于两者的相对位置。",
            relative,
        ),
    ),
)
