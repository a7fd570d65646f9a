"""Points of a picture as it is, and the patches of the model's crop of it."""

from typing import Any

from vitrail.arguments import checked
from vitrail.errors import ConfigError, TierError
from vitrail.preprocess import Preprocess

Box = tuple[float, float, float, float]  # left, top, right, bottom


def picture_size(image: Any, channels: int) -> tuple[int, int]:
    """The size of a picture as it is shown: turned as its camera notes.

    Args:
        image: a path, a Pillow image, or a tensor (C, H, W).
        channels: channels of the model, for the reader of the file.

    Returns:
        Width and height in pixels.

    Raises:
        DataError: the image cannot be read.

    Example:
        >>> picture_size(torch.zeros(3, 4, 6, dtype=torch.uint8), 3)
        (6, 4)
    """
    from vitrail.data.images import to_tensor  # needs Pillow, which models do not

    height, width = to_tensor(image, channels).shape[1:]
    return int(width), int(height)


def visible_box(preprocess: Preprocess, size: tuple[int, int]) -> Box:
    """The part of a picture that a model gets, or more than it where borders are added.

    Args:
        preprocess: of the model.
        size: width and height of the picture.

    Returns:
        Left, top, right and bottom in pixels of the picture; negative ones and those beyond its
        size are in the borders.

    Example:
        >>> visible_box(Preprocess(size=(32, 32), resize=32), (64, 32))
        (16.0, 0.0, 48.0, 32.0)
    """
    width, height = size
    crop = (preprocess.size[1], preprocess.size[0])
    resized = preprocess.resize
    if isinstance(resized, int):
        scales = (resized / min(width, height),) * 2
    else:
        target = crop if resized is None else resized[::-1]
        scales = target[0] / width, target[1] / height
        if preprocess.pad:
            scales = (min(scales),) * 2
        elif not preprocess.squeeze and resized is not None:
            scales = (max(scales),) * 2
    # Rounding moves the borders by less than a pixel of the crop.
    half_width, half_height = crop[0] / scales[0] / 2, crop[1] / scales[1] / 2
    return (
        width / 2 - half_width,
        height / 2 - half_height,
        width / 2 + half_width,
        height / 2 + half_height,
    )


@checked
def patch_at(
    point: tuple[int, int],
    size: tuple[int, int],
    preprocess: Preprocess,
    grid: tuple[int, ...],
) -> tuple[int, int]:
    """The patch that a point of a picture falls into.

    Args:
        point: x and y in pixels of the picture as it is, from its top left corner.
        size: width and height of the picture.
        preprocess: of the model, which cuts its crop out of the picture.
        grid: number of patches along height and width.

    Returns:
        Row and column of the patch.

    Raises:
        ConfigError: the point is outside the picture, or outside the crop that the model gets.
        TierError: the samples are no images.

    Example:
        >>> patch_at((100, 20), (128, 64), Preprocess(size=(32, 32), resize=None), (4, 4))
        (1, 3)
    """
    if len(grid) != 2:
        raise TierError(f"at={point} is a point of an image; this model has the grid {grid}.")
    (x, y), (width, height) = point, size
    if not (0 <= x < width and 0 <= y < height):
        raise ConfigError(
            f"at={x},{y} is outside the picture: x is 0 to {width - 1}, y is 0 to {height - 1}."
        )
    left, top, right, bottom = visible_box(preprocess, size)
    column = int((x + 0.5 - left) / (right - left) * grid[1] // 1)
    row = int((y + 0.5 - top) / (bottom - top) * grid[0] // 1)
    if not (0 <= row < grid[0] and 0 <= column < grid[1]):
        raise ConfigError(
            f"at={x},{y} is outside the part of the picture that the model sees: x is "
            f"{max(round(left), 0)} to {min(round(right), width) - 1}, y is "
            f"{max(round(top), 0)} to {min(round(bottom), height) - 1}."
        )
    return row, column


def mark_patch(pixels: Any, grid: tuple[int, int], patch: tuple[int, int]) -> Any:
    """A picture with a frame around a patch, white outside and black inside.

    Args:
        pixels: (H, W, 3) within 0..1.
        grid: number of patches along height and width.
        patch: row and column.

    Returns:
        (H, W, 3), a copy.

    Example:
        >>> import numpy as np
        >>> int(mark_patch(np.zeros((8, 8, 3)), (2, 2), (0, 1))[:, :, 0].sum())
        16
    """
    pixels = pixels.copy()
    ends = [
        (-(-n * length // count), -(-(n + 1) * length // count) - 1)
        for n, length, count in zip(patch, pixels.shape, grid, strict=False)
    ]
    for inset, ink in ((1, 0.0), (0, 1.0)):
        (top, bottom), (left, right) = ((a - 1 + inset, b + 1 - inset) for a, b in ends)
        top, left = max(top, 0), max(left, 0)
        bottom, right = min(bottom, pixels.shape[0] - 1), min(right, pixels.shape[1] - 1)
        pixels[[top, bottom], left : right + 1] = ink
        pixels[top : bottom + 1, [left, right]] = ink
    return pixels
