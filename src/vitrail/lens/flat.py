"""Samples as flat pictures: images as they are, frames and slices in a strip, signals as curves."""

import numpy as np
import torch
from torch import Tensor

from vitrail.errors import TierError
from vitrail.lens.heat import Scale, glow
from vitrail.lens.pictures import (
    enlarge,
    heat_map,
    outline_patches,
    repeat_cells,
    to_picture,
)
from vitrail.preprocess import Preprocess

FRAMES = 8  # frames or slices of a strip, at most
FRAME_SIZE = 144  # pixels that the longer side of a frame has at least
CURVE_SIZE = (160, 1120)  # height and width of a curve in pixels
RANGE = 3.0  # standard deviations around the mean that are drawn of values without a scale


def to_bytes(samples: Tensor, preprocess: Preprocess) -> Tensor:
    """Samples on the scale that is drawn, the same for all of a model.

    Args:
        samples: (..., C, *size), uint8 or float.
        preprocess: of the model; its window is the scale of floats, or else three standard
            deviations around the mean.

    Returns:
        uint8 (..., C, *size).

    Example:
        >>> preprocess = Preprocess((2,), None, mean=(5.0,), std=(1.0,))
        >>> to_bytes(torch.tensor([[2.0, 8.0]]), preprocess).tolist()
        [[0, 255]]
    """
    if samples.dtype == torch.uint8:
        return samples
    shape = (-1, *[1] * len(preprocess.size))
    mean, std = (torch.tensor(v).view(shape) for v in (preprocess.mean, preprocess.std))
    low, high = mean - RANGE * std, mean + RANGE * std
    if preprocess.sampling.window is not None:
        low, high = (torch.full_like(mean, v) for v in preprocess.sampling.window)
    return ((samples.cpu() - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)


def picture(sample: Tensor, grid: tuple[int, ...] = ()) -> np.ndarray:
    """A sample as a picture.

    Args:
        sample: uint8 (C, H, W) of an image, (C, T, H, W) of a clip or a volume, (C, L) of a signal.
        grid: number of patches on each axis, whose borders are drawn in images that have few of
            them; () for none.

    Returns:
        (H', W', 3) within 0..1.

    Example:
        >>> picture(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)).shape
        (144, 432, 3)
        >>> picture(torch.zeros(2, 50, dtype=torch.uint8)).shape
        (160, 1120, 3)
    """
    if sample.ndim == 3:
        pixels = to_picture(enlarge(sample.cpu()))
        return outline_patches(pixels, grid) if grid else pixels
    if sample.ndim == 4:
        return _separate(to_picture(_strip(sample)), len(_frame_indices(sample)))
    return np.repeat(_curve(sample)[..., None] * 1.0, 3, axis=2)


def heat(
    sample: Tensor, weights: Tensor, *, scale: Scale | None = None, smooth: bool = False
) -> np.ndarray:
    """A sample under its heat map.

    Args:
        sample: uint8 (C, *size).
        weights: one per patch, on a grid of the same axes; of a clip also (T',), one per step in
            time.
        scale: as in `heat_map`.
        smooth: as in `heat_map`; the frames of clips, and signals, are drawn in cells.

    Returns:
        (H', W', 3) within 0..1.

    Raises:
        TierError: the grid has other axes.
        ConfigError: a weight is outside the scale, or not finite.

    Example:
        >>> clip = torch.zeros(3, 2, 8, 8, dtype=torch.uint8)
        >>> heat(clip, torch.rand(2, 4, 4)).shape
        (144, 288, 3)
    """
    flat = _flat(sample, weights)
    if sample.ndim == 3:
        return heat_map(enlarge(sample.cpu()), flat, scale=scale, smooth=smooth)
    if scale is None:
        scale = Scale.of(weights)
    if sample.ndim == 4:
        return _separate(heat_map(_strip(sample), flat, scale=scale), len(_frame_indices(sample)))
    strength = scale.fraction(flat.detach().float().cpu().flatten().numpy())
    colors = repeat_cells(glow(strength)[None], CURVE_SIZE)
    ink = np.where(colors.mean(axis=2, keepdims=True) > 0.45, 0.0, 1.0)
    return np.where(_curve(sample)[..., None], ink, colors)


def cells(sample: Tensor, colors: Tensor) -> np.ndarray:
    """Colors of the patches, of the size of the sample's picture.

    Args:
        sample: uint8 (C, *size).
        colors: uint8 (*grid, 3), on a grid as that of `heat`.

    Returns:
        (H', W', 3) within 0..1.

    Raises:
        TierError: the grid has other axes.

    Example:
        >>> cells(torch.zeros(1, 16, dtype=torch.uint8), torch.zeros(4, 3).byte()).shape
        (160, 1120, 3)
    """
    grid = tuple(colors.shape[:-1])
    flat = torch.stack([_flat(sample, band) for band in colors.cpu().unbind(-1)], dim=-1)
    blocks = flat.numpy() / 255.0
    if sample.ndim == 3:
        return outline_patches(repeat_cells(blocks, enlarge(sample).shape[1:]), grid)
    if sample.ndim == 4:
        strip = repeat_cells(blocks, _strip(sample).shape[1:])
        return _separate(strip, len(_frame_indices(sample)))
    return repeat_cells(blocks, CURVE_SIZE)


def _flat(sample: Tensor, values: Tensor) -> Tensor:
    """Values on the grid of a sample → on the grid (h, w) of its picture."""
    axes, grid = sample.ndim - 1, tuple(values.shape)
    if len(grid) != axes and (axes, len(grid)) != (3, 1):
        raise TierError(f"a grid of patches {grid} cannot be drawn over {axes} axes.")
    if axes == 1:
        return values[None]
    if axes == 2:
        return values
    frames = values if len(grid) == 3 else values[:, None, None]
    count = len(_frame_indices(sample))
    index = ((torch.arange(count) + 0.5) * len(frames) / count).long()
    return frames[index.to(frames.device)].transpose(0, 1).flatten(1)


def _frame_indices(sample: Tensor) -> Tensor:
    """The frames or slices of a strip, evenly taken."""
    count = min(FRAMES, sample.shape[1])
    return ((torch.arange(count) + 0.5) * sample.shape[1] / count).long()


def _strip(sample: Tensor) -> Tensor:
    """Frames (C, T, H, W) side by side: uint8 (C, h, n · w)."""
    frames = sample.cpu()[:, _frame_indices(sample)].transpose(0, 1)
    return torch.cat([enlarge(frame, FRAME_SIZE) for frame in frames], dim=2)


def _separate(strip: np.ndarray, count: int) -> np.ndarray:
    """A strip with white lines between its frames."""
    strip = strip.copy()
    for border in np.arange(1, count) * strip.shape[1] // count:
        strip[:, border - 2 : border + 1] = 1.0
    return strip


def _curve(sample: Tensor) -> np.ndarray:
    """Signals uint8 (C, L) as curves, one below the other: where there is ink, `CURVE_SIZE`."""
    height, width = CURVE_SIZE
    ink = np.zeros(CURVE_SIZE, dtype=bool)
    lane = height / len(sample)
    columns = np.linspace(0, sample.shape[1] - 1, width)
    for number, values in enumerate(sample.cpu().numpy()):
        heights = np.interp(columns, np.arange(len(values)), values / 255)
        rows = np.clip((number + 0.95 - 0.9 * heights) * lane, 0, height - 1).astype(int)
        following = np.append(rows[1:], rows[-1:])
        for column, (low, high) in enumerate(zip(rows, following, strict=True)):
            ink[min(low, high) : max(low, high) + 2, column] = True
    return ink
