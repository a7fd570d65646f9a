"""Operations on one image, a uint8 array (H, W, C) of 1 or 3 channels, of which policies are made.

Factors are 1 for no change. `pixel_moves` has those that move pixels.
"""

import math
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vitrail import resizing

Pixels = NDArray[Any]  # uint8; OpenCV does not say which type it returns
MAX_CHANNELS = 4  # of the images that OpenCV is fast on; it takes none of more than 128
LEVELS = np.arange(256, dtype=np.float32)
LARGEST_SCALE = 2.5  # of what is resized by smoothing and interpolation


class _Scratch(threading.local):
    """Memory of each thread that is written to again and again."""

    memory = np.empty(0, np.uint8)

    def get(self, shape: tuple[int, ...]) -> Pixels:
        size = math.prod(shape)
        if len(self.memory) < size:
            self.memory = np.empty(size, np.uint8)
        return self.memory[:size].reshape(shape)


_scratch = _Scratch()


def _by_table(image: Pixels, table: NDArray) -> Pixels:
    """Replaces each value by that of a table of 256."""
    return with_axis(cv2.LUT(image, np.clip(np.rint(table), 0, 255).astype(np.uint8)))


def with_axis(image: Pixels) -> Pixels:
    """An image with the axis of its channels, which OpenCV drops if there is only one.

    Args:
        image: (H, W, C) or (H, W).

    Returns:
        (H, W, C).

    Example:
        >>> with_axis(np.zeros((4, 4), np.uint8)).shape
        (4, 4, 1)
    """
    return image if image.ndim == 3 else image[..., None]


def resize_pixels(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Resizes an image with antialiasing.

    Bilinear interpolation, of an image that was smoothed by weights of the variance that Pillow's
    triangle filter has. Three or five suffice down to 0.4; below, it is Pillow's filter itself.

    Args:
        image: (H, W, C).
        size: height and width of the result.

    Returns:
        (*size, C).

    Example:
        >>> resize_pixels(np.full((9, 12, 3), 7, np.uint8), (8, 8)).shape
        (8, 8, 3)
    """
    scales = [side / target for side, target in zip(image.shape[:2], size, strict=True)]
    if max(scales) > LARGEST_SCALE or image.shape[2] > MAX_CHANNELS:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        return resizing.resize(pixels, size, "bilinear").permute(1, 2, 0).numpy()
    if max(scales) > 1:
        rows, columns = (_smoothing(scale) for scale in scales)
        smooth = _scratch.get(image.shape)  # the system clears new memory, which takes long
        image = cv2.sepFilter2D(image, -1, columns, rows, smooth, borderType=cv2.BORDER_REPLICATE)
    return with_axis(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR))


def _smoothing(scale: float) -> NDArray[np.float32]:
    """Weights with the variance that a triangle of that half width has beyond one of 1."""
    variance = max(scale**2 - 1, 0) / 6
    parts = 1 if scale <= 2 else 2  # three weights of a larger variance would let stripes through
    outer = variance / (2 * parts)
    weights = np.array([outer, 1 - 2 * outer, outer], np.float32)
    return weights if parts == 1 else np.convolve(weights, weights)


def flip_pixels(image: Pixels, upside_down: bool = False) -> Pixels:
    """Mirrors an image.

    Args:
        image: (H, W, C).
        upside_down: whether rows change their order, and not columns.

    Returns:
        A mirrored image.

    Example:
        >>> flip_pixels(np.array([[[1], [2]]], np.uint8)).flatten().tolist()
        [2, 1]
    """
    if image.shape[2] > MAX_CHANNELS:
        return image[::-1] if upside_down else image[:, ::-1]
    return with_axis(cv2.flip(image, 0 if upside_down else 1))


def luma(image: Pixels) -> Pixels:
    """The gray of an image.

    Args:
        image: (H, W, C).

    Returns:
        (H, W), by ITU-R 601.

    Example:
        >>> luma(np.full((1, 1, 3), 9, np.uint8)).tolist()
        [[9]]
    """
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.shape[2] == 3 else image[..., 0]


def brightness(image: Pixels, factor: float) -> Pixels:
    """Scales all values.

    Args:
        image: (H, W, C).
        factor: 1 changes nothing.

    Returns:
        A brighter or darker image.

    Example:
        >>> brightness(np.full((1, 1, 1), 100, np.uint8), 1.5).item()
        150
    """
    return _by_table(image, LEVELS * factor)


def contrast(image: Pixels, factor: float) -> Pixels:
    """Scales the differences from the mean gray.

    Args:
        image: (H, W, C).
        factor: 1 changes nothing.

    Returns:
        An image with another contrast about its mean.

    Example:
        >>> contrast(np.array([[[90], [110]]], np.uint8), 2.0).flatten().tolist()
        [80, 120]
    """
    mean = np.rint(luma(image).mean())
    return _by_table(image, mean + (LEVELS - mean) * factor)


def saturation(image: Pixels, factor: float) -> Pixels:
    """Scales the differences from the gray of each pixel.

    Args:
        image: (H, W, C).
        factor: 1 changes nothing.

    Returns:
        An image of stronger or weaker colors; 0 makes it gray.

    Example:
        >>> saturation(np.array([[[0, 100, 0]]], np.uint8), 0.0).flatten().tolist()
        [59, 59, 59]
    """
    if image.shape[2] == 1:
        return image
    gray = cv2.cvtColor(luma(image), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, gray, 1 - factor, 0)


def hue(image: Pixels, fraction: float) -> Pixels:
    """Rotates the hues.

    Args:
        image: (H, W, C).
        fraction: of the color circle, -0.5 to 0.5.

    Returns:
        An image of other hues.

    Example:
        >>> hue(np.array([[[200, 0, 0]]], np.uint8), 1 / 3).flatten().tolist()
        [0, 200, 0]
    """
    if image.shape[2] == 1:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)  # hues in 256 steps
    hsv[..., 0] += np.uint8(round(fraction * 256) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def sharpness(image: Pixels, factor: float) -> Pixels:
    """Scales the differences from a smoothed image.

    Args:
        image: (H, W, C).
        factor: 1 changes nothing.

    Returns:
        A sharper or smoother image; 0 smooths it.

    Example:
        >>> sharpness(np.full((3, 3, 1), 7, np.uint8), 1.9).max()
        np.uint8(7)
    """
    kernel = np.ones((3, 3), np.float32)
    kernel[1, 1] = 5
    smooth = cv2.filter2D(image, -1, kernel / 13, borderType=cv2.BORDER_REPLICATE)
    return with_axis(cv2.addWeighted(image, factor, with_axis(smooth), 1 - factor, 0))


def posterize(image: Pixels, bits: int) -> Pixels:
    """Keeps the highest bits of each value.

    Args:
        image: (H, W, C).
        bits: number of bits that are kept, 1 to 8.

    Returns:
        An image with so many bits per value.

    Example:
        >>> posterize(np.full((1, 1, 1), 255, np.uint8), 2).item()
        192
    """
    return image & np.uint8(256 - (1 << (8 - bits)))


def solarize(image: Pixels, threshold: float) -> Pixels:
    """Inverts bright values.

    Args:
        image: (H, W, C).
        threshold: 0 to 256.

    Returns:
        An image with values from the threshold on inverted.

    Example:
        >>> solarize(np.array([[[10], [200]]], np.uint8), 128).flatten().tolist()
        [10, 55]
    """
    return _by_table(image, np.where(threshold <= LEVELS, 255 - LEVELS, LEVELS))


def autocontrast(image: Pixels) -> Pixels:
    """Stretches each channel.

    Args:
        image: (H, W, C).

    Returns:
        An image whose channels each span 0 to 255.

    Example:
        >>> autocontrast(np.array([[[50], [100], [150]]], np.uint8)).flatten().tolist()
        [0, 128, 255]
    """
    return _by_channel(image, _stretched)


def _stretched(channel: Pixels) -> Pixels:
    low, high = int(channel.min()), int(channel.max())
    if low == high:
        return channel
    return _by_table(channel[..., None], (LEVELS - low) * (255 / (high - low)))[..., 0]


def equalize(image: Pixels) -> Pixels:
    """Equalizes the histogram of each channel.

    Args:
        image: (H, W, C).

    Returns:
        An image whose channels each have an even histogram.

    Example:
        >>> equalize(np.array([[[9], [10], [11]]], np.uint8)).flatten().tolist()
        [0, 128, 255]
    """
    return _by_channel(image, cv2.equalizeHist)


def _by_channel(image: Pixels, change: Callable[[Pixels], Pixels]) -> Pixels:
    return with_axis(cv2.merge([change(channel) for channel in cv2.split(image)]))


def blur(image: Pixels, sigma: float) -> Pixels:
    """Gaussian blur.

    Args:
        image: (H, W, C).
        sigma: standard deviation in pixels.

    Returns:
        A blurred image.

    Example:
        >>> blur(np.full((5, 5, 3), 8, np.uint8), 1.0).max()
        np.uint8(8)
    """
    size = 2 * int(np.ceil(3 * sigma)) + 1
    return with_axis(cv2.GaussianBlur(image, (size, size), sigma, borderType=cv2.BORDER_REPLICATE))


def grayscale(image: Pixels) -> Pixels:
    """Takes the colors out.

    Args:
        image: (H, W, C).

    Returns:
        A gray image of as many channels.

    Example:
        >>> grayscale(np.array([[[0, 100, 0]]], np.uint8)).flatten().tolist()
        [59, 59, 59]
    """
    return saturation(image, 0.0)
