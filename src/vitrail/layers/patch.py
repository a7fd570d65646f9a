"""Patches: cutting images into them and projecting each to a token."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, DataError
from vitrail.ops.guard import guarded, guarded_forward
from vitrail.ops.linear import product
from vitrail.values import PositiveInt
from vitrail.values import Size as Size  # models import it from here

Sides = tuple[PositiveInt, ...]  # pixels, or patches, per axis

# Names of the axes of signals, of images, and of videos and volumes.
AXES = {1: ("length",), 2: ("height", "width"), 3: ("frames", "height", "width")}


@guarded
def to_tuple(value: Size, axes: PositiveInt | tuple[PositiveInt, ...] = 2) -> tuple[int, ...]:
    """One number per axis, from a number or from a tuple.

    Args:
        value: a number for all axes, or a number per axis.
        axes: number of axes, or the numbers of axes that are allowed; a single value is repeated
            for the first.

    Returns:
        A tuple with one number per axis.

    Raises:
        ConfigError: the tuple has another length, or a number is below 1.

    Example:
        >>> to_tuple(16), to_tuple((16, 8))
        ((16, 16), (16, 8))
    """
    axes = (axes,) if isinstance(axes, int) else axes
    values = (value,) * axes[0] if isinstance(value, int) else tuple(value)
    if len(values) not in axes or any(v < 1 for v in values):
        counts = " or ".join(map(str, sorted(axes)))
        raise ConfigError(
            f"size {value} is not {counts} whole number{'s' * (axes != (1,))} of at least 1."
        )
    return values


@guarded
def patch_grid(size: Sides, patch: Sides, stride: Sides | None = None) -> tuple[int, ...]:
    """Number of patches per axis.

    Args:
        size: pixels of the image per axis.
        patch: pixels of a patch per axis.
        stride: distance between patches; None for `patch`. With a smaller stride patches overlap
            and fit any size of at least one patch; less than a stride of pixels remains unread.

    Returns:
        The grid.

    Raises:
        DataError: patches that do not overlap do not divide the image.

    Example:
        >>> patch_grid((224, 112), (16, 16))
        (14, 7)
        >>> patch_grid((8, 8), (4, 4), stride=(2, 2))
        (3, 3)
    """
    if stride not in (None, patch) and all(s >= p for s, p in zip(size, patch, strict=True)):
        axes = zip(size, patch, stride, strict=True)
        return tuple((s - p) // step + 1 for s, p, step in axes)
    if any(s < p or s % p for s, p in zip(size, patch, strict=True)):
        nearest = " x ".join(
            str(max(p, round(s / p) * p)) for s, p in zip(size, patch, strict=True)
        )
        raise DataError(
            f"image of {' x '.join(map(str, size))} pixels does not divide into patches of "
            f"{' x '.join(map(str, patch))}: resize it to {nearest}."
        )
    return tuple(s // p for s, p in zip(size, patch, strict=True))


@guarded
def check_images(images: Tensor, channels: PositiveInt, axes: PositiveInt = 2) -> None:
    """Checks the shape of a batch of images.

    Args:
        images: the batch.
        channels: number of channels that the model takes.
        axes: number of axes of an image, 2 for height and width.

    Raises:
        DataError: the batch is not (B, channels, *size).

    Example:
        >>> check_images(torch.zeros(1, 3, 8, 8), channels=3)
    """
    if images.ndim != 2 + axes or images.shape[1] != channels:
        raise DataError(
            f"input of shape {tuple(images.shape)} does not fit a model for "
            f"{channels}-channel images: give (batch, {channels}, {', '.join(AXES[axes])})."
        )


@guarded
def check_input(images: object, like: Tensor) -> None:
    """Checks that a model can compute with an input, whatever its shape.

    Args:
        images: what was given as a batch of images.
        like: a parameter of the model.

    Raises:
        DataError: it is no dense tensor of floating point numbers, has no pixels, or is not on the
            device and, but for autocast, of the dtype of the model.

    Example:
        >>> check_input(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1))
        Traceback (most recent call last):
        vitrail.errors.DataError: input of torch.uint8 is not normalized: give the model ...
    """
    if isinstance(images, torch.fx.Proxy):
        raise DataError("a model cannot be traced by torch.fx.symbolic_trace: use torch.export.")
    if not isinstance(images, Tensor):
        raise DataError(
            f"an input of type {type(images).__name__} is no tensor: model.preprocess makes one of "
            "paths, Pillow images and lists of these, torch.as_tensor one of an array."
        )
    if images.is_nested or images.layout != torch.strided:
        raise DataError("a nested or sparse tensor is no batch of images: give a dense one.")
    if images.ndim < 2 or 0 in images.shape[1:]:
        raise DataError(
            f"input of shape {tuple(images.shape)} has no pixels: give a batch of images."
        )
    if not images.is_floating_point():
        cure = "model.preprocess(images)" if images.dtype == torch.uint8 else "images.float()"
        raise DataError(f"input of {images.dtype} is not normalized: give the model {cure}.")
    if images.device != like.device:
        raise DataError(
            f"the input is on {images.device} and the model on {like.device}: move one of them "
            f'with .to("{images.device if like.is_meta else like.device}").'
        )
    if images.dtype != like.dtype and not torch.is_autocast_enabled(images.device.type):
        raise DataError(
            f"input of {images.dtype} does not fit weights of {like.dtype}: give the model "
            f"images.to({like.dtype})."
        )


@guarded
def patchify(images: Tensor, patch: Sides) -> Tensor:
    """Cuts images into patches that do not overlap.

    Args:
        images: (B, C, *size).
        patch: pixels of a patch per axis.

    Returns:
        (B, N, C · prod(patch)), the pixels of a patch in the order (C, *patch).

    Raises:
        DataError: patches do not divide the images.

    Example:
        >>> patchify(torch.arange(16).view(1, 1, 4, 4), (2, 2))[0, 1]
        tensor([2, 3, 6, 7])
    """
    grid = patch_grid(tuple(images.shape[2:]), patch)
    dims = len(patch)
    split = [n for pair in zip(grid, patch, strict=True) for n in pair]  # gh, ph, gw, pw, ...
    x = images.reshape(*images.shape[:2], *split)
    cells = [2 + 2 * i for i in range(dims)]
    pixels = [3 + 2 * i for i in range(dims)]
    width = images.shape[1] * math.prod(patch)
    return x.permute(0, *cells, 1, *pixels).reshape(x.shape[0], math.prod(grid), width)


@guarded
def unpatchify(patches: Tensor, patch: Sides, grid: Sides) -> Tensor:
    """Puts patches together, the inverse of `patchify`.

    Args:
        patches: (B, N, C · prod(patch)).
        patch: pixels of a patch per axis.
        grid: number of patches per axis.

    Returns:
        Images (B, C, *size).

    Example:
        >>> images = torch.randn(1, 3, 4, 6)
        >>> torch.equal(unpatchify(patchify(images, (2, 2)), (2, 2), (2, 3)), images)
        True
    """
    dims = len(patch)
    x = patches.reshape(patches.shape[0], *grid, -1, *patch)
    order = [n for i in range(dims) for n in (1 + i, 2 + dims + i)]
    size = [g * p for g, p in zip(grid, patch, strict=True)]
    return x.permute(0, 1 + dims, *order).reshape(x.shape[0], -1, *size)


class PatchEmbed(nn.Module):
    """Patch embedding: one token per patch (ViT, Dosovitskiy et al. 2020,
    https://arxiv.org/abs/2010.11929).

    A convolution whose stride equals its kernel and a linear layer on flattened patches compute
    the same. The weight has the convolution's shape (D, C, *patch); the attribute `backend`,
    "linear" or "conv", says which of the two computes the tokens. Patches that overlap take the
    convolution.

    Args:
        patch: pixels of a patch per axis.
        channels: number of channels of an image.
        dim: width of a token.
        stride: distance between patches, at most `patch`; None for `patch`.
        bias: whether a bias is added.
        init: initial values: "lecun", a normal distribution with variance 1 / fan_in and biases of
            0, as in the ViT paper's code; "torch", those of `nn.Conv2d`, uniform within
            ±1 / √fan_in, as in the code of DeiT and its descendants.

    Raises:
        ConfigError: the stride is larger than the patch.

    Example:
        >>> tokens, grid = PatchEmbed((4, 4), channels=3, dim=8)(torch.zeros(1, 3, 8, 12))
        >>> tokens.shape, grid
        (torch.Size([1, 6, 8]), (2, 3))
    """

    @guarded
    def __init__(
        self,
        patch: Sides,
        channels: PositiveInt,
        dim: PositiveInt,
        stride: Sides | None = None,
        *,
        bias: bool = True,
        init: Literal["lecun", "torch"] = "lecun",
    ) -> None:
        super().__init__()
        self.patch = patch
        self.init = init
        self.stride = stride or patch
        if any(s > p for s, p in zip(self.stride, patch, strict=True)):
            raise ConfigError(
                f"stride={self.stride} leaves pixels between patches of {patch} unread: "
                "give a stride of at most the patch."
            )
        self.channels = channels
        self.backend = "linear" if self.stride == patch else "conv"
        self.weight = nn.Parameter(torch.empty(dim, channels, *patch))
        self.bias = nn.Parameter(torch.empty(dim)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws from the distribution that `init` names."""
        bound = (self.channels * math.prod(self.patch)) ** -0.5
        if self.init == "lecun":
            nn.init.trunc_normal_(self.weight, std=bound)
        else:
            nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is None:
            return
        if self.init == "lecun":
            nn.init.zeros_(self.bias)
        else:
            nn.init.uniform_(self.bias, -bound, bound)

    @guarded_forward
    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """images (B, C, *size) → tokens (B, N, D) and their grid."""
        check_images(images, self.channels, len(self.patch))
        grid = patch_grid(tuple(images.shape[2:]), self.patch, self.stride)
        if self.backend == "linear":
            return product(patchify(images, self.patch), self.weight.flatten(1), self.bias), grid
        if self.backend == "conv":
            convolve = (F.conv1d, F.conv2d, F.conv3d)[len(self.patch) - 1]
            tokens = convolve(images, self.weight, self.bias, stride=self.stride)
            return tokens.flatten(2).transpose(1, 2), grid
        raise ConfigError(f"patch backend {self.backend!r} is neither 'linear' nor 'conv'.")

    def extra_repr(self) -> str:
        """Shows the sizes in the model's printout."""
        return f"patch={self.patch}, channels={self.channels}, dim={len(self.weight)}"
