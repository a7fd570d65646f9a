"""Which places of the grid are hidden, and hiding them so that nothing leaks."""

import math

import torch
from torch import Tensor

from vitrail.errors import ConfigError
from vitrail.models.base import Features

Grid = tuple[int, ...]


def shuffle_mask(noise: Tensor, ratio: float) -> Tensor:
    """Hides the part `ratio` of the places with the highest noise (B, N) → bool (B, N).

    Every sample keeps the same number, int(N · (1 − ratio)), as MAE does.
    """
    kept = int(noise.shape[1] * (1 - ratio))
    if not 0 < kept < noise.shape[1]:
        raise ConfigError(
            f"mask_ratio={ratio:g} of {noise.shape[1]} patches hides "
            f"{'none' if kept else 'all'}: choose it within 0 and 1."
        )
    ranks = noise.argsort(dim=1).argsort(dim=1)
    return ranks >= kept


def random_mask(
    batch: int, grid: Grid, ratio: float, *, unit: int = 1, device: torch.device | None = None
) -> Tensor:
    """Hides random places → bool (B, N), True where hidden.

    `unit`: places along each axis that are hidden together, as in SimMIM (Xie et al. 2021,
    https://arxiv.org/abs/2111.09886).
    """
    if any(side % unit for side in grid):
        raise ConfigError(f"mask_unit={unit} does not divide the grid {grid}.")
    coarse = tuple(side // unit for side in grid)
    mask = shuffle_mask(torch.rand(batch, math.prod(coarse), device=device), ratio)
    return resize_mask(mask, coarse, grid)


def tube_mask(
    batch: int, grid: Grid, ratio: float, *, device: torch.device | None = None
) -> Tensor:
    """Hides the same random places in every frame of a video (T, H, W) → bool (B, T · H · W).

    Tong et al. 2022 (VideoMAE), https://arxiv.org/abs/2203.12602.
    """
    if len(grid) != 3:
        raise ConfigError(f"tubes run through frames, and a grid {grid} has none: use 'random'.")
    frame = random_mask(batch, grid[1:], ratio, device=device)
    return frame[:, None].expand(-1, grid[0], -1).flatten(1)


def resize_mask(mask: Tensor, old: Grid, new: Grid) -> Tensor:
    """bool (B, N) on one grid → bool (B, M) on another: each place as the one it lies in."""
    if old == new:
        return mask
    places = mask.unflatten(1, old)
    for axis, (sides, wanted) in enumerate(zip(old, new, strict=True), 1):
        index = torch.arange(wanted, device=mask.device) * sides // wanted
        places = places.index_select(axis, index)
    return places.flatten(1)


def hide(images: Tensor, mask: Tensor, grid: Grid) -> Tensor:
    """images (B, C, *size) with the cells zeroed that mask (B, N) hides on `grid`.

    Zeroed before anything reads them: whatever the stem's reach, no hidden pixel has a gradient.
    """
    size = tuple(images.shape[2:])
    pixels = resize_mask(mask, grid, size).unflatten(1, size)
    return images.masked_fill(pixels[:, None], 0.0)


def mark(features: Features, mask: Tensor, grid: Grid, mask_token: Tensor) -> Features:
    """Adds the mask token (1, 1, D) to the tokens of hidden cells; positions stay.

    `embed` gives a zeroed patch one constant and its position, so the sum is any learned vector and
    the position: what replacing the token before positions are added gives, on any stem.
    """
    hidden = resize_mask(mask, grid, features.grid)[..., None]
    return features._replace(patches=features.patches + hidden * mask_token.to(features.patches))
