"""Images as arrays to draw: heat maps of attention over an image, grids of patches."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.lens.heat import MARGIN, Scale, glow

Picture = Annotated[Tensor, Axes(3)]  # (C, H, W)
FEW_PATCHES = 12  # grids with fewer patches per side are outlined in images
GROUND = 0.6  # grey between pictures
CONTRAST = 0.5  # of an image's details in a heat map, at most


@checked
def heat_map(
    image: Picture,
    weights: Annotated[Tensor, Axes(2)],
    *,
    scale: Scale | tuple[float, float] | None = None,
    smooth: bool = False,
) -> np.ndarray:
    """Attention weights laid over an image.

    Each patch has the color of its weight. The details of the image make its pixels darker or
    lighter, but leave their mean as it is, so that the weight can be read from the mean color of a
    patch over any image: see `vitrail.lens.read_colors`.

    Args:
        image: uint8 (C, H, W).
        weights: (H', W'), one per patch.
        scale: weights at the dark and the bright end; None: from 0, or the lowest weight, to the
            highest.
        smooth: whether to interpolate between the centers of the patches, which looks finer than
            what the model computes.

    Returns:
        (H, W, 3) within 0..1.

    Raises:
        ConfigError: a weight is outside the scale, or not finite.

    Example:
        >>> heat_map(torch.zeros(3, 8, 8, dtype=torch.uint8), torch.eye(2)).shape
        (8, 8, 3)
    """
    values = weights.detach().float().cpu()
    size = (image.shape[1], image.shape[2])
    strength = (Scale.of(values) if scale is None else Scale(*scale)).fraction(values.numpy())
    if smooth:
        cells = torch.from_numpy(strength)[None, None]
        fractions = F.interpolate(cells, size, mode="bilinear")[0, 0].numpy()
    else:
        fractions = repeat_cells(strength, size)
    return glow(fractions) + _details(to_picture(image).mean(axis=2), strength.shape)[..., None]


def _details(grey: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """What distinguishes pixels (H, W) from the mean of their patch, within ±`MARGIN`.

    Its mean over each patch is 0, up to the rounding to hundredths, which makes files smaller.
    """
    numbers = np.arange(grid[0] * grid[1]).reshape(grid)
    patch = repeat_cells(numbers, grey.shape)
    count = np.bincount(patch.ravel(), minlength=numbers.size).clip(1)
    details = grey - (np.bincount(patch.ravel(), grey.ravel(), numbers.size) / count)[patch]
    largest = np.zeros(numbers.size)
    np.maximum.at(largest, patch.ravel(), np.abs(details).ravel())
    factors: np.ndarray = np.minimum(CONTRAST, MARGIN / largest.clip(1e-9))
    return (details * factors[patch]).round(2)


@checked
def to_picture(image: Picture) -> np.ndarray:
    """An image as an array to draw.

    Args:
        image: uint8 (C, H, W); of other than 1 or 3 channels the mean is drawn.

    Returns:
        (H, W, 3) within 0..1.

    Example:
        >>> to_picture(torch.full((5, 2, 2), 255, dtype=torch.uint8))[0, 0].tolist()
        [1.0, 1.0, 1.0]
    """
    if image.shape[0] not in (1, 3):
        image = image.float().mean(0, keepdim=True)
    picture: np.ndarray = image.cpu().expand(3, -1, -1).permute(1, 2, 0).numpy() / 255.0
    return picture


def repeat_cells(cells: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A coarse grid enlarged by nearest-neighbor interpolation.

    Args:
        cells: (h, w, ...).
        size: height and width in pixels.

    Returns:
        (*size, ...).

    Example:
        >>> repeat_cells(np.array([[1, 2]]), (2, 4)).tolist()
        [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    rows = np.arange(size[0]) * cells.shape[0] // size[0]
    columns = np.arange(size[1]) * cells.shape[1] // size[1]
    return cells[rows[:, None], columns]


def outline_patches(picture: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """A picture with dark lines between its patches, where there are few of them.

    Args:
        picture: (H, W, 3) within 0..1.
        grid: number of patches along height and width.

    Returns:
        (H, W, 3); the picture itself from `FEW_PATCHES` per side on.

    Example:
        >>> outline_patches(np.ones((2, 4, 3)), (1, 2))[0, :, 0].tolist()
        [1.0, 1.0, 0.55, 1.0]
    """
    if max(grid) >= FEW_PATCHES:
        return picture
    picture = picture.copy()
    for axis, count in enumerate(grid):
        lines = np.arange(1, count) * picture.shape[axis] // count
        picture.swapaxes(0, axis)[lines] *= 0.55
    return picture


def enlarge(image: Tensor, min_size: int = 224) -> Tensor:
    """An image whose pixels are repeated, so that there is room to draw over them.

    Args:
        image: (C, H, W).
        min_size: pixels that the longer side has at least.

    Returns:
        (C, f · H, f · W) for the smallest factor f; the image itself where it is large enough.

    Example:
        >>> enlarge(torch.zeros(3, 28, 28)).shape
        torch.Size([3, 224, 224])
    """
    factor = -(-min_size // max(image.shape[1:]))
    return image.repeat_interleave(factor, 1).repeat_interleave(factor, 2) if factor > 1 else image


def tiles(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Pictures of one size in rows, four pixels apart on a grey for light and dark pages.

    Args:
        rows: pictures (H, W, 3) within 0..1, equally many in each row.

    Returns:
        uint8 (height, width, 3).

    Example:
        >>> tiles([[np.zeros((2, 2, 3))] * 2]).shape
        (2, 8, 3)
    """
    gap = ((0, 4), (0, 4), (0, 0))
    lines = [
        np.concatenate([np.pad(p, gap, constant_values=GROUND) for p in row], axis=1)
        for row in rows
    ]
    whole = np.concatenate(lines, axis=0)[:-4, :-4]
    return (whole * 255).round().astype(np.uint8)
