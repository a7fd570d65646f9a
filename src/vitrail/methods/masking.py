"""Which places of the grid are hidden, and hiding them so that nothing leaks."""

import math

import torch
from torch import Tensor

from vitrail.errors import ConfigError, DataError, TierError
from vitrail.layers.patch import patchify, unpatchify
from vitrail.models.base import Backbone, Features

Grid = tuple[int, ...]

# Of BEiT's rectangles: the least height over width, and how many are drawn for a mask.
ASPECT, BLOCKS = 0.3, 16


def shuffle_mask(noise: Tensor, ratio: float) -> Tensor:
    """Hides the part `ratio` of the places with the highest noise (B, N) → bool (B, N).

    Every sample keeps the same number, int(N · (1 − ratio)), as MAE does.
    """
    kept = int(noise.shape[1] * (1 - ratio))
    if not 0 < kept < noise.shape[1]:
        raise ConfigError(
            f"mask_ratio={ratio:g} of {noise.shape[1]} patches hides "
            f"{'none' if kept else 'all'}: choose another, or larger images."
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


def block_mask(
    batch: int,
    grid: Grid,
    ratio: float,
    *,
    smallest: int = 16,
    device: torch.device | None = None,
) -> Tensor:
    """Hides overlapping rectangles, one after another → bool (B, N), True where hidden.

    Bao et al. 2021 (BEiT, algorithm 1), https://arxiv.org/abs/2106.08254: each has `smallest`
    places or more, up to those that are left to hide, and an aspect within 0.3 to 1 / 0.3, drawn on
    a logarithmic scale as the authors' code does. Where they stop somewhat above or below `ratio`,
    the last rectangle is cut here, row by row, so that every sample hides the same number. On small
    grids a quarter of that number is enough for a rectangle: sixteen may be the whole grid.
    Signals hide runs; videos hide the same rectangles in every frame.
    """
    *frames, height, width = (1, *grid)
    places = height * width
    count = places - int(places * (1 - ratio))
    least = min(smallest, count / 4)
    rows, columns = (torch.arange(n, device=device) for n in (height, width))
    # The round in which a place is hidden first. Too many rounds cost little, and no device waits.
    order = torch.full((batch, height, width), BLOCKS, device=device)
    for number in range(BLOCKS):
        size, shape, top, left = torch.rand(4, batch, 1, device=device)
        missing = count - (order < BLOCKS).sum(dim=(1, 2))[:, None]
        area = least + size * (missing - least).clamp(min=0)
        tall = (area * ASPECT ** (2 * shape - 1)).sqrt().round().clamp(1, height)
        wide = (area / tall).round().clamp(1, width)
        above = rows - (top * (height - tall + 1)).floor()
        beside = columns - (left * (width - wide + 1)).floor()
        inside = ((above >= 0) & (above < tall))[:, :, None]
        inside = inside & ((beside >= 0) & (beside < wide))[:, None, :]
        order = order.where(~inside | (order < BLOCKS), number)
    # Places of one round go in the grid's order, or backwards.
    along = (torch.arange(places, device=device) + 0.5) / places
    along = along.where(torch.rand(batch, 1, device=device) < 0.5, 1 - along)
    mask = shuffle_mask(along - order.flatten(1), ratio)
    return mask.repeat(1, math.prod(frames))


def resize_mask(mask: Tensor, old: Grid, new: Grid) -> Tensor:
    """bool (B, N) on one grid → bool (B, M) on another: each place as the one it lies in."""
    if old == new:
        return mask
    places = mask.unflatten(1, old)
    for axis, (sides, wanted) in enumerate(zip(old, new, strict=True), 1):
        index = torch.arange(wanted, device=mask.device) * sides // wanted
        places = places.index_select(axis, index)
    return places.flatten(1)


def split(mask: Tensor, kept: int | None = None) -> tuple[Tensor, Tensor]:
    """bool (B, N) → places in view (B, K) and hidden ones (B, N − K), each in the grid's order.

    kept: K, where it is known: then no device waits for a count. Else the mask is asked, and
    `DataError` says so if its rows do not hide equally many, or hide all or none.
    """
    if kept is None:
        counts = (~mask).sum(dim=1)
        kept = int(counts[0])
        if not 0 < kept < mask.shape[1] or (counts != kept).any():
            raise DataError(
                f"the rows of this mask show {int(counts.min())} to {int(counts.max())} of "
                f"{mask.shape[1]} patches: all must hide equally many, and neither all nor none."
            )
    order = mask.to(torch.uint8).argsort(dim=1, stable=True)
    return order[:, :kept], order[:, kept:]


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


def embed_hidden(backbone: Backbone, images: Tensor, mask: Tensor, grid: Grid) -> Features:
    """What `embed` makes of images whose cells are hidden.

    Raises `DataError` for images of another size than the model's, whose cells would be others, and
    `TierError` for a model that drops patches of its own accord, as NaViT can.
    """
    if (size := tuple(images.shape[2:])) != backbone.image_size:
        raise DataError(
            f"images of {size} pixels, and cells to hide of {backbone.image_size}: resize the "
            "images, or make the model with their image_size."
        )
    features = backbone.embed(hide(images, mask, grid))
    if features.keep_indices is not None:
        raise TierError(
            f"this {type(backbone).__name__} drops patches of its own accord, so which are hidden "
            "is not known: set its token_dropout to 0."
        )
    return features


def pictures(images: Tensor, mask: Tensor, grid: Grid, index: Tensor, built: Tensor) -> Tensor:
    """Images (B, C, *size) → (3, B, C, *size): given, masked, rebuilt.

    built (B, K, C · prod(cell)) are pixels of the cells at index (B, K); the rest is as given.
    """
    cell = tuple(side // places for side, places in zip(images.shape[2:], grid, strict=True))
    cells = patchify(images, cell)
    cells = cells.scatter(1, index[..., None].expand_as(built), built.to(cells))
    return torch.stack([images, hide(images, mask, grid), unpatchify(cells, cell, grid)])
