"""Boxes of objects: whether a map points into them."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.errors import ConfigError

Box = tuple[float, float, float, float]  # left, top, right, bottom, as fractions


@checked
def pointing_game(maps: Annotated[Tensor, Axes(3)], boxes: Sequence[Sequence[float]]) -> Tensor:
    """The pointing game (Zhang et al. 2016, https://arxiv.org/abs/1608.00507).

    Args:
        maps: (B, H, W).
        boxes: (left, top, right, bottom) of the object in each image, as fractions of its width and
            height, 0 to 1.

    Returns:
        Whether the middle of the cell with the highest value is in the box, (B,).

    Raises:
        ConfigError: there are not as many boxes as maps, or a box is none.

    Example:
        >>> pointing_game(torch.tensor([[[0.0, 1.0]]]), [(0.5, 0.0, 1.0, 1.0)])
        tensor([True])
    """
    highest = maps.float().flatten(1).argmax(dim=1)
    middles = [_middles(maps, box) for box in _check_boxes(maps, boxes)]
    return torch.stack([inside.flatten()[i] for inside, i in zip(middles, highest, strict=True)])


@checked
def mass_inside(maps: Annotated[Tensor, Axes(3)], boxes: Sequence[Sequence[float]]) -> Tensor:
    """The share of a map that lies in a box, negative values left out.

    Args:
        maps: (B, H, W).
        boxes: as in `pointing_game`.

    Returns:
        (B,), 0 to 1. A cell counts by the part of it that is in the box.

    Raises:
        ConfigError: as `pointing_game`.

    Example:
        >>> mass_inside(torch.ones(1, 1, 2), [(0.0, 0.0, 0.75, 1.0)])
        tensor([0.7500])
    """
    shares = torch.stack([_shares(maps, box) for box in _check_boxes(maps, boxes)])
    values = maps.float().clamp(min=0).flatten(1)
    inside = (values * shares.to(values).flatten(1)).sum(1)
    return inside / values.sum(1).clamp_min(torch.finfo(values.dtype).tiny)


def _check_boxes(maps: Tensor, boxes: Sequence[Sequence[float]]) -> list[Box]:
    if len(boxes) != len(maps):
        raise ConfigError(f"there are {len(boxes)} boxes for {len(maps)} maps: give one per map.")
    result = []
    for box in boxes:
        sides = [float(side) for side in box]
        if len(sides) != 4 or not (0 <= sides[0] < sides[2] <= 1 and 0 <= sides[1] < sides[3] <= 1):
            raise ConfigError(
                f"the box {tuple(sides)} is not (left, top, right, bottom) within 0 to 1."
            )
        result.append((sides[0], sides[1], sides[2], sides[3]))
    return result


def _middles(maps: Tensor, box: Box) -> Tensor:
    """(H, W), whether the middle of each cell is in the box."""
    left, top, right, bottom = box
    height, width = maps.shape[1:]
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    return ((y >= top) & (y <= bottom))[:, None] & ((x >= left) & (x <= right))


def _shares(maps: Tensor, box: Box) -> Tensor:
    """(H, W), the part of each cell that is in the box."""
    left, top, right, bottom = box

    def along(count: int, start: float, end: float) -> Tensor:
        edges = torch.arange(count + 1) / count
        low, high = edges[:-1].clamp(min=start), edges[1:].clamp(max=end)
        return (high - low).clamp(min=0) * count

    return along(maps.shape[1], top, bottom)[:, None] * along(maps.shape[2], left, right)
