"""Patch features as colors."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import DataError, TierError
from vitrail.models.features import Features
from vitrail.values import Fraction


class ColorBasis(NamedTuple):
    """Three directions of features that become red, green and blue.

    Args:
        center: mean of the features, (D,).
        axes: principal components, (D, 3) or fewer columns.
        low: coordinates at which red, green and blue are 0, (3,).
        high: coordinates at which they are 1, (3,).

    Example:
        >>> patches = torch.arange(12.0).reshape(1, 4, 3)
        >>> features = Features(patches, patches[:, :0], (2, 2))
        >>> ColorBasis.of(features).colors(features).shape
        torch.Size([1, 2, 2, 3])
    """

    center: Tensor
    axes: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, *batches: Features) -> "ColorBasis":
        """The directions in which the patches of some batches differ most.

        Args:
            *batches: features of one width.

        Returns:
            The principal components of all patches together, their signs and order fixed.

        Raises:
            DataError: a feature is infinite or no number.
        """
        rows = torch.cat([features.patches.detach().float().flatten(0, 1) for features in batches])
        if not rows.isfinite().all():
            raise DataError("features are infinite or no numbers, and have no colors.")
        center, axes = _components(rows, 3)
        low, high = _ends(_coordinates(rows, center, axes, 3))
        return cls(center, axes, low, high)

    def colors(self, features: Features) -> Tensor:
        """features (B, N, D) on a full grid → uint8 (B, *grid, 3)."""
        rows = features.to_map().detach().float()
        if rows.shape[-1] != len(self.center):
            raise TierError(
                f"features of width {rows.shape[-1]} have no place in a basis of width "
                f"{len(self.center)}: make one of theirs by ColorBasis.of."
            )
        coordinates = _coordinates(rows, self.center.to(rows.device), self.axes.to(rows.device), 3)
        low, high = self.low.to(rows.device), self.high.to(rows.device)
        return (_scaled(coordinates, low, high) * 255).round().to(torch.uint8)


@checked
def pca_colors(
    features: Features, foreground: Fraction | None = None, *, across: bool = True
) -> Tensor:
    """The first three principal components of patch features as red, green and blue.

    The sign and the order of components are fixed: equal features give equal colors.

    Args:
        features: patches (B, N, D) on a full grid.
        foreground: threshold (0 to 1) on the first component, below which a patch is painted black
            as background; the remaining patches are colored by components of their own, as Oquab
            et al. 2023 do (https://arxiv.org/abs/2304.07193). The side of the component on which
            the images' border lies is the background. None: every patch is colored.
        across: whether the components are those of the patches of all images, so that a color
            means the same in each of them; or of each image by itself, which shows more within it.

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
    if not across and len(features.patches) > 1:
        single = [features._replace(patches=each[None]) for each in features.patches]
        return torch.cat([pca_colors(each, foreground) for each in single])
    if foreground is None:
        return ColorBasis.of(features).colors(features)
    patches = features.to_map().flatten(1, -2).float()
    flat = patches.flatten(0, 1)
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
    return _scaled(values, *_ends(values))


def _ends(values: Tensor) -> tuple[Tensor, Tensor]:
    """The second and the 98th percentile of each column."""
    return values.quantile(0.02, dim=0), values.quantile(0.98, dim=0)


def _scaled(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Columns, the last axis, scaled to 0..1 and clipped; those of hardly any range are 0."""
    range_ = high - low
    smallest = max(1e-3 * range_.max().item(), 1e-12)
    return ((values - low) / range_.clamp(min=smallest)).clamp(0, 1) * (range_ >= smallest)


def _components(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The mean (D,) of rows (N, D) and their first principal components (D, count or fewer)."""
    center = rows.mean(0)
    centered = rows - center
    _, axes = torch.linalg.eigh(centered.T @ centered)  # columns, in ascending order
    axes = axes.flip(1)[:, :count]
    # The sign of a component is arbitrary: its largest entry is made positive.
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return center, axes * largest.sign()


def _coordinates(rows: Tensor, center: Tensor, axes: Tensor, count: int) -> Tensor:
    """Rows (..., D) in the directions of `axes`: (..., count), 0 beyond its columns."""
    projected = (rows - center) @ axes
    return F.pad(projected, (0, count - projected.shape[-1]))


def _project(rows: Tensor, count: int) -> Tensor:
    """Rows (N, D) on their first `count` principal components: (N, count), 0 beyond D."""
    return _coordinates(rows, *_components(rows, count), count)


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
