"""Ways of an image to a size: squeezed, cropped at the center, or padded; always antialiased."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

THIN = 4  # an image is thin if it is so many times longer than its center crop


def resize(image: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Resizes an image with antialiasing, as Pillow does.

    Args:
        image: uint8 (C, H, W).
        size: height and width of the result.
        interpolation: "nearest", "bilinear" or "bicubic".

    Returns:
        uint8 (C, *size).

    Example:
        >>> resize(torch.zeros(3, 8, 8, dtype=torch.uint8), (4, 6), "bilinear").shape
        torch.Size([3, 4, 6])
    """
    if image.shape[1:] == torch.Size(size):
        return image
    if interpolation == "nearest":
        return F.interpolate(image[None], size, mode="nearest-exact")[0]
    on_cpu = image.device.type == "cpu"  # other devices resize no bytes
    batch = image[None] if on_cpu else image[None].float()
    pixels = F.interpolate(batch, size, mode=interpolation, antialias=True)[0]
    return pixels if on_cpu else pixels.round_().clamp_(0, 255).to(torch.uint8)


def center_crop(
    image: Tensor, size: tuple[int, int], short_side: int, interpolation: str
) -> Tensor:
    """Resizes the short side of an image and cuts out its center.

    The long side and the place of the center are rounded as in torchvision, on which timm's and
    transformers' preprocessing is built: half a pixel would change every pixel.

    Args:
        image: uint8 (C, H, W).
        size: height and width of the result.
        short_side: pixels of the short side before it is cropped.
        interpolation: "nearest", "bilinear" or "bicubic".

    Returns:
        uint8 (C, *size).

    Example:
        >>> center_crop(torch.zeros(3, 1, 9000, dtype=torch.uint8), (8, 8), 9, "bicubic").shape
        torch.Size([3, 8, 8])
    """
    short = min(image.shape[1:])
    image = _without_ends(image, size, short_side, short)
    height, width = (
        max(n * short_side // short, s) for n, s in zip(image.shape[1:], size, strict=True)
    )
    return crop(resize(image, (height, width), interpolation), size)


def crop(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Cuts out the center of an image, as torchvision does.

    Args:
        image: (C, H, W), of at least `size`.
        size: height and width of the result.

    Returns:
        (C, *size).

    Example:
        >>> crop(torch.arange(4).view(1, 2, 2), (2, 1)).flatten()
        tensor([0, 2])
    """
    top, left = (round((a - b) / 2) for a, b in zip(image.shape[1:], size, strict=True))
    return image[:, top : top + size[0], left : left + size[1]]


def covering_crop(
    image: Tensor, size: tuple[int, int], target: tuple[int, int], interpolation: str
) -> Tensor:
    """Resizes an image until it covers a height and width, and cuts out its center.

    Args:
        image: uint8 (C, H, W).
        size: height and width of the result.
        target: height and width, of at least `size`, that the resized image has or exceeds.
        interpolation: "nearest", "bilinear" or "bicubic".

    Returns:
        uint8 (C, *size).

    Example:
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> covering_crop(image, (4, 6), (5, 7), "bicubic").shape
        torch.Size([3, 4, 6])
    """
    ratio, axis = min(
        (a / b, i) for i, (a, b) in enumerate(zip(image.shape[1:], target, strict=True))
    )
    image = _without_ends(image, size, target[axis], image.shape[1 + axis])
    height, width = (
        max(round(side / ratio), s) for side, s in zip(image.shape[1:], size, strict=True)
    )
    return crop(resize(image, (height, width), interpolation), size)


def _without_ends(image: Tensor, size: tuple[int, int], short_side: int, short: int) -> Tensor:
    """Cuts off what a center crop does not see of a thin image, before that is enlarged."""
    scale = short_side / short
    margin = 2 * math.ceil(max(1 / scale, 1)) + 1  # as far as the filters reach
    for axis, target in enumerate(size, 1):
        length = image.shape[axis]
        if length * scale > THIN * target:
            keep = math.ceil(target / scale) + 2 * margin
            keep += (length - keep) % 2
            enlarged = length * short_side // short
            # Until the center is where it was before, and rounding changes the scale by little.
            while keep < length and (
                (enlarged - keep * short_side // short) % 4 or keep * short_side % short > short / 4
            ):
                keep += 2
            image = image.narrow(axis, (length - keep) // 2, keep)
    return image


def padded(
    image: Tensor,
    size: tuple[int, int],
    target: tuple[int, int],
    interpolation: str,
    color: Sequence[float],
) -> Tensor:
    """Puts an image in its proportions into the middle of a larger one.

    Args:
        image: uint8 (C, H, W).
        size: height and width of the result, which shows the center of the image.
        target: height and width, of at least `size`, that the resized image fits into.
        interpolation: "nearest", "bilinear" or "bicubic".
        color: value of each channel of the borders, on 0..1.

    Returns:
        uint8 (C, *size).

    Example:
        >>> image = torch.zeros(1, 4, 8, dtype=torch.uint8)
        >>> padded(image, (4, 4), (4, 4), "bilinear", [1.0])[0, :, 0]
        tensor([255,   0,   0, 255], dtype=torch.uint8)
    """
    ratio = max(before / after for before, after in zip(image.shape[1:], target, strict=True))
    height, width = (max(round(side / ratio), 1) for side in image.shape[1:])
    visible = min(height, size[0]), min(width, size[1])
    border = torch.tensor([round(255 * value) for value in color], dtype=torch.uint8)
    canvas = border.to(image.device)[:, None, None].repeat(1, *size)
    top, left = (size[0] - visible[0]) // 2, (size[1] - visible[1]) // 2
    inner = canvas[:, top : top + visible[0], left : left + visible[1]]
    inner.copy_(crop(resize(image, (height, width), interpolation), visible))
    return canvas
