"""Shears, rotations and shifts of one image, a uint8 array (H, W, C) of 1 or 3 channels.

What a moved image leaves free becomes mid-gray.
"""

import cv2
import numpy as np

from vitrail.data.pixel_ops import Pixels, with_axis

GRAY = (128.0, 128.0, 128.0)


def shear_x(image: Pixels, factor: float) -> Pixels:
    """Shears the rows.

    Args:
        image: (H, W, C).
        factor: pixels that a row moves to the left, per row that it lies below the center; 0
            changes nothing.

    Returns:
        An image sheared along its rows, about its center.

    Example:
        >>> shear_x(np.full((4, 4, 3), 9, np.uint8), 0.0).max()
        np.uint8(9)
    """
    return _moved(image, [[1, factor], [0, 1]])


def shear_y(image: Pixels, factor: float) -> Pixels:
    """Shears the columns.

    Args:
        image: (H, W, C).
        factor: pixels that a column moves up, per column that it lies right of the center; 0
            changes nothing.

    Returns:
        An image sheared along its columns, about its center.

    Example:
        >>> shear_y(np.full((4, 4, 3), 9, np.uint8), 0.0).max()
        np.uint8(9)
    """
    return _moved(image, [[1, 0], [factor, 1]])


def rotate_pixels(image: Pixels, degrees: float) -> Pixels:
    """Rotates the image.

    Args:
        image: (H, W, C).
        degrees: angle; positive is counterclockwise.

    Returns:
        An image rotated about its center.

    Example:
        >>> rotate_pixels(np.array([[[1], [2]], [[3], [4]]], np.uint8), 90.0)[..., 0].tolist()
        [[2, 4], [1, 3]]
    """
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return _moved(image, [[cos, -sin], [sin, cos]])


def translate_x(image: Pixels, pixels: float) -> Pixels:
    """Moves the image along its rows.

    Args:
        image: (H, W, C).
        pixels: distance; negative is the other way.

    Returns:
        An image moved to the right.

    Example:
        >>> translate_x(np.array([[[1], [2]]], np.uint8), 1.0).flatten().tolist()
        [128, 1]
    """
    return _moved(image, [[1, 0], [0, 1]], (-pixels, 0))


def translate_y(image: Pixels, pixels: float) -> Pixels:
    """Moves the image along its columns.

    Args:
        image: (H, W, C).
        pixels: distance; negative is the other way.

    Returns:
        An image moved down.

    Example:
        >>> translate_y(np.array([[[1]], [[2]]], np.uint8), 1.0).flatten().tolist()
        [128, 1]
    """
    return _moved(image, [[1, 0], [0, 1]], (0, -pixels))


def _moved(
    image: Pixels, matrix: list[list[float]], offset: tuple[float, float] = (0, 0)
) -> Pixels:
    """Takes the pixel at (x, y) from matrix @ (x, y) + offset, both measured from the center."""
    height, width = image.shape[:2]
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    linear = np.array(matrix, dtype=np.float64)
    shift = center - linear @ center + offset
    affine = np.concatenate([linear, shift[:, None]], axis=1)
    moved = cv2.warpAffine(
        image, affine, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderValue=GRAY,
    )  # fmt: skip
    return with_axis(moved)
