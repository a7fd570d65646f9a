"""Cutting images into patches and projecting each to a token."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, DataError
from vitrail.ops.linear import linear

Size = int | tuple[int, ...]


# What the axes of signals, of images, and of videos and volumes are called.
AXES = {1: ("length",), 2: ("height", "width"), 3: ("frames", "height", "width")}


def to_tuple(value: Size, axes: int | tuple[int, ...] = 2) -> tuple[int, ...]:
    """16 → (16, 16); (16, 8) stays. `axes`: how many numbers; an int takes the first."""
    axes = (axes,) if isinstance(axes, int) else axes
    values = (value,) * axes[0] if isinstance(value, int) else tuple(value)
    if len(values) not in axes or any(v < 1 for v in values):
        counts = " or ".join(map(str, sorted(axes)))
        raise ConfigError(
            f"size {value} is not {counts} whole number{'s' * (axes != (1,))} of at least 1."
        )
    return values


def patch_grid(
    size: tuple[int, ...], patch: tuple[int, ...], stride: tuple[int, ...] | None = None
) -> tuple[int, ...]:
    """How many patches fit on each axis. Raises `DataError` where they do not fit exactly.

    Patches that overlap, because their stride is smaller, fit any size of at least one patch; what
    is left over at the far edges, less than a stride, is not seen.
    """
    if stride not in (None, patch) and all(s >= p for s, p in zip(size, patch, strict=True)):
        every = zip(size, patch, stride, strict=True)
        return tuple((s - p) // step + 1 for s, p, step in every)
    if any(s < p or s % p for s, p in zip(size, patch, strict=True)):
        nearest = " x ".join(
            str(max(p, round(s / p) * p)) for s, p in zip(size, patch, strict=True)
        )
        raise DataError(
            f"image of {' x '.join(map(str, size))} pixels does not divide into patches of "
            f"{' x '.join(map(str, patch))}: resize it to {nearest}."
        )
    return tuple(s // p for s, p in zip(size, patch, strict=True))


def check_images(images: Tensor, channels: int, axes: int = 2) -> None:
    """Raises `DataError` unless images are (B, channels, *size), with so many axes."""
    if images.ndim != 2 + axes or images.shape[1] != channels:
        raise DataError(
            f"input of shape {tuple(images.shape)} does not fit a model for "
            f"{channels}-channel images: give (batch, {channels}, {', '.join(AXES[axes])})."
        )


def patchify(images: Tensor, patch: tuple[int, ...]) -> Tensor:
    """(B, C, *size) → (B, N, C · prod(patch)): pixels of a patch in the order (C, *patch)."""
    grid = patch_grid(tuple(images.shape[2:]), patch)
    dims = len(patch)
    split = [n for pair in zip(grid, patch, strict=True) for n in pair]  # gh, ph, gw, pw, ...
    x = images.reshape(*images.shape[:2], *split)
    places = [2 + 2 * i for i in range(dims)]
    pixels = [3 + 2 * i for i in range(dims)]
    return x.permute(0, *places, 1, *pixels).reshape(x.shape[0], math.prod(grid), -1)


def unpatchify(patches: Tensor, patch: tuple[int, ...], grid: tuple[int, ...]) -> Tensor:
    """(B, N, C · prod(patch)) → (B, C, *size): the inverse of `patchify`."""
    dims = len(patch)
    x = patches.reshape(patches.shape[0], *grid, -1, *patch)
    order = [n for i in range(dims) for n in (1 + i, 2 + dims + i)]
    size = [g * p for g, p in zip(grid, patch, strict=True)]
    return x.permute(0, 1 + dims, *order).reshape(x.shape[0], -1, *size)


class PatchEmbed(nn.Module):
    """One token for each patch (Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929).

    A convolution whose stride is its kernel and a linear layer on flattened patches are the same
    map. The weights, (D, C, *patch), are kept once; `backend` says which of the two computes it.
    A stride smaller than the patch makes patches overlap, and takes the convolution.
    """

    def __init__(
        self,
        patch: tuple[int, ...],
        channels: int,
        dim: int,
        stride: tuple[int, ...] | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.stride = stride or patch
        if any(s > p for s, p in zip(self.stride, patch, strict=True)):
            raise ConfigError(f"stride={self.stride} skips pixels between patches of {patch}.")
        self.channels = channels
        self.backend = "linear" if self.stride == patch else "conv"
        self.weight = nn.Parameter(torch.empty(dim, channels, *patch))
        self.bias = nn.Parameter(torch.empty(dim)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """LeCun normal: outputs have the inputs' variance."""
        fan_in = self.channels * math.prod(self.patch)
        nn.init.trunc_normal_(self.weight, std=fan_in**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """images (B, C, *size) → tokens (B, N, D) and their grid."""
        check_images(images, self.channels, len(self.patch))
        grid = patch_grid(tuple(images.shape[2:]), self.patch, self.stride)
        if self.backend == "linear":
            return linear(patchify(images, self.patch), self.weight.flatten(1), self.bias), grid
        if self.backend == "conv":
            convolve = (F.conv1d, F.conv2d, F.conv3d)[len(self.patch) - 1]
            tokens = convolve(images, self.weight, self.bias, stride=self.stride)
            return tokens.flatten(2).transpose(1, 2), grid
        raise ConfigError(f"patch backend {self.backend!r} is neither 'linear' nor 'conv'.")

    def extra_repr(self) -> str:
        """Shows the sizes in the model's printout."""
        return f"patch={self.patch}, channels={self.channels}, dim={len(self.weight)}"
