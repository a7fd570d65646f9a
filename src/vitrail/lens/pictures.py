"""Images as arrays to draw: heat maps of attention over an image, grids of patches."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.lens.features import stretch

Picture = Annotated[Tensor, Axes(3)]  # (C, H, W)
HEAT = colormaps["inferno"]  # perceptually uniform, and told apart by the color-blind
FEW_PATCHES = 12  # grids with fewer patches per side are drawn patch by patch


@checked
def heat_map(image: Picture, weights: Annotated[Tensor, Axes(2)]) -> np.ndarray:
    """Attention weights laid over an image.

    The image is grey and dim where weights are low, and glows where they are high. The color scale
    is the picture's own, from its lowest to its highest weight, see `stretch`.

    Args:
        image: uint8 (C, H, W).
        weights: (H', W'), one per patch.

    Returns:
        (H, W, 3) within 0..1.

    Example:
        >>> heat_map(torch.zeros(3, 8, 8, dtype=torch.uint8), torch.eye(2)).shape
        (8, 8, 3)
    """
    strength = stretch(weights.float().cpu().flatten()).reshape(weights.shape)
    if max(weights.shape) < FEW_PATCHES:
        strength = torch.from_numpy(repeat_cells(strength.numpy(), image.shape[1:]))
    else:
        size = (image.shape[1], image.shape[2])
        strength = F.interpolate(strength[None, None], size, mode="bicubic")[0, 0].clamp(0, 1)
    alpha = strength.numpy()[..., None]
    picture = to_picture(image)
    grey = picture.mean(axis=2, keepdims=True).repeat(3, axis=2) * 0.45
    glow = HEAT(alpha[..., 0])[..., :3]
    blend = np.clip(grey * (1 - 0.75 * alpha) + picture * 0.2 * alpha + glow * 0.9 * alpha, 0, 1)
    return outline_patches(blend, tuple(weights.shape))


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
    """Pictures of one size in rows, on white, four pixels apart.

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
        np.concatenate([np.pad(p, gap, constant_values=1.0) for p in row], axis=1) for row in rows
    ]
    whole = np.concatenate(lines, axis=0)[:-4, :-4]
    return (whole * 255).round().astype(np.uint8)
