"""Patch features as colours."""

import torch
from torch import Tensor

from vitrail.errors import TierError
from vitrail.models.base import Features


def pca_colours(features: Features, foreground: float | None = None) -> Tensor:
    """The first three principal components of patch features as red, green and blue.

    Patches that mean alike look alike, within an image and across the batch: components are those
    of all patches together. Signs and order are fixed, so the same features give the same
    picture.

    foreground: first paint black what lies below this part (0 to 1) of the first component, and
    colour what is left by components of its own, as Oquab et al. 2023 do
    (https://arxiv.org/abs/2304.07193); the side with more of the border is the background.
    Returns uint8 (B, H, W, 3).
    """
    patches = features.patches.float()
    flat = patches.flatten(0, 1)
    shown = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    if foreground is not None:
        shown = _foreground(stretch(_project(flat, 1)[:, 0]), features.grid) > foreground
    colours = flat.new_zeros(len(flat), 3)
    if shown.any():
        colours[shown] = stretch(_project(flat[shown], 3))
    colours = (colours * 255).round().to(torch.uint8)
    return colours.reshape(len(patches), *features.grid, 3)


def stretch(values: Tensor) -> Tensor:
    """Columns (N, ...) moved to 0..1; the outer 2 % on either side, which would flatten the rest,
    are cut off. A column that hardly varies beside the others becomes 0."""
    low, high = values.quantile(0.02, dim=0), values.quantile(0.98, dim=0)
    range_ = high - low
    least = max(1e-3 * range_.max().item(), 1e-12)
    return ((values - low) / range_.clamp(min=least)).clamp(0, 1) * (range_ >= least)


def _project(rows: Tensor, count: int) -> Tensor:
    """Rows (N, D) on their first principal components → (N, count), 0 where there are fewer."""
    centred = rows - rows.mean(0)
    _, axes = torch.linalg.eigh(centred.T @ centred)  # columns, the greatest last
    axes = axes.flip(1)[:, :count]
    # A component's sign is arbitrary: make its largest entry positive.
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    projected = centred @ (axes * largest.sign())
    return torch.nn.functional.pad(projected, (0, count - projected.shape[1]))


def _foreground(first: Tensor, grid: tuple[int, ...]) -> Tensor:
    """The first component 0..1 (B * N,), turned so that the images' border is the lower side."""
    if len(grid) != 2:
        raise TierError(f"a foreground is told from the border of images; this grid is {grid}.")
    images = first.unflatten(0, (-1, *grid))
    border = torch.ones(grid, dtype=torch.bool, device=first.device)
    border[1:-1, 1:-1] = False
    return 1 - first if images[:, border].mean() > first.mean() else first
