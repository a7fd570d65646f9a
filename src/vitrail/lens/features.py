"""Patch features as colors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import TierError
from vitrail.models.features import Features


@checked
def pca_colors(features: Features, foreground: float | None = None) -> Tensor:
    """The first three principal components of patch features as red, green and blue.

    The components are those of the patches of the whole batch, so a color means the same in all
    of its images. The sign and the order of components are fixed: equal features give equal
    colors.

    Args:
        features: patches (B, N, D) on a full grid.
        foreground: threshold (0 to 1) on the first component, below which a patch is painted black
            as background; the remaining patches are colored by components of their own, as Oquab
            et al. 2023 do (https://arxiv.org/abs/2304.07193). The side of the component on which
            the images' border lies is the background. None: every patch is colored.

    Returns:
        uint8 (B, *grid, 3).

    Raises:
        TierError: patches were dropped, or `foreground` was asked for on a grid that is not
            two-dimensional.

    Example:
        >>> patches = torch.arange(12.0).reshape(1, 4, 3)
        >>> pca_colors(Features(patches, patches[:, :0], (2, 2))).shape
        torch.Size([1, 2, 2, 3])
    """
    patches = features.to_map().flatten(1, -2).float()
    flat = patches.flatten(0, 1)
    visible = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    if foreground is not None:
        first = stretch(_project(flat, 1)[:, 0])
        visible = _border_low(first, features.grid) > foreground
    colors = flat.new_zeros(len(flat), 3)
    if visible.any():
        colors[visible] = stretch(_project(flat[visible], 3))
    colors = (colors * 255).round().to(torch.uint8)
    return colors.reshape(len(patches), *features.grid, 3)


def stretch(values: Tensor) -> Tensor:
    """Columns scaled to 0..1, with the lowest and the highest 2 % clipped.

    Clipping keeps a few outliers from flattening the rest.

    Args:
        values: (N, ...), each column scaled by itself.

    Returns:
        (N, ...) within 0..1. A column whose range is below a thousandth of the widest column's is
        0 throughout.

    Example:
        >>> stretch(torch.tensor([0.0, 1.0, 2.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    low, high = values.quantile(0.02, dim=0), values.quantile(0.98, dim=0)
    range_ = high - low
    smallest = max(1e-3 * range_.max().item(), 1e-12)
    return ((values - low) / range_.clamp(min=smallest)).clamp(0, 1) * (range_ >= smallest)


def _project(rows: Tensor, count: int) -> Tensor:
    """Rows (N, D) on their first `count` principal components: (N, count), 0 beyond D."""
    centered = rows - rows.mean(0)
    _, axes = torch.linalg.eigh(centered.T @ centered)  # columns, in ascending order
    axes = axes.flip(1)[:, :count]
    # The sign of a component is arbitrary: its largest entry is made positive.
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    projected = centered @ (axes * largest.sign())
    return F.pad(projected, (0, count - projected.shape[1]))


def _border_low(first: Tensor, grid: tuple[int, ...]) -> Tensor:
    """The first component (B * N,) within 0..1, flipped if needed so that the border is low."""
    if len(grid) != 2:
        raise TierError(
            f"foreground needs flat images, whose border is the background; this grid is {grid}."
        )
    images = first.unflatten(0, (-1, *grid))
    border = torch.ones(grid, dtype=torch.bool, device=first.device)
    border[1:-1, 1:-1] = False
    return 1 - first if images[:, border].mean() > first.mean() else first
