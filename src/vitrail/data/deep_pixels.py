"""Images of more than 8 bits and of any number of channels, on a fixed scale of 0 to 255."""

import functools
import io
import logging
import math
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitrail.data.formats import check_shape, check_size
from vitrail.errors import DataError

if TYPE_CHECKING:
    from types import ModuleType

    from PIL.Image import Image

BITS_PER_SAMPLE, ORIENTATION, SAMPLES_PER_PIXEL = 258, 274, 277  # tags of TIFF
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NPY = b"\x93NUMPY"
COLOR_WITH_16_BITS = ((16, 2), (16, 4), (16, 6))  # depth and color type in the header of a PNG


def upright(pixels: NDArray, orientation: int) -> NDArray:
    """Turns and mirrors an image as EXIF says.

    Args:
        pixels: (H, W, C), as stored.
        orientation: 1 to 8, as EXIF numbers them.

    Returns:
        (H, W, C), as it is looked at; 5 to 8 swap the sides.

    Example:
        >>> upright(np.zeros((2, 3, 1)), 6).shape
        (3, 2, 1)
    """
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    right = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels if down == right == 1 else pixels[::down, ::right].copy()


def is_deep_png(data: bytes) -> bool:
    """Whether a file is a PNG of 16 bits that Pillow would cut to 8.

    Args:
        data: the bytes of the file.

    Returns:
        Whether it holds colors or transparency of 16 bits. Pillow reads 16 bits of gray.

    Example:
        >>> is_deep_png(b"GIF89a")
        False
    """
    return data.startswith(b"\x89PNG") and tuple(data[24:26]) in COLOR_WITH_16_BITS


def is_cut_by_pillow(image: "Image") -> bool:
    """Whether a Pillow image is a TIFF of which Pillow leaves out channels or bits.

    Args:
        image: of any format; its header was read.

    Returns:
        Whether it has more channels than its mode, or several of more than 8 bits.

    Example:
        >>> import PIL.Image
        >>> is_cut_by_pillow(PIL.Image.new("RGB", (4, 4)))
        False
    """
    if image.format != "TIFF":
        return False
    tags = image.tag_v2  # type: ignore[attr-defined]
    count, bits = tags.get(SAMPLES_PER_PIXEL, 1), tags.get(BITS_PER_SAMPLE, (1,))
    return count > len(image.getbands()) or (count > 1 and max(bits) > 8)


def read_deep_png(data: bytes) -> tuple[NDArray, bool]:
    """Decodes a PNG in its own depth.

    Args:
        data: the bytes of the file.

    Returns:
        (H, W, C), with colors in the order RGB, and whether the last channel is transparency.

    Raises:
        ValueError: it is damaged.

    Example:
        >>> import cv2
        >>> data = cv2.imencode(".png", np.full((2, 3, 3), 300, np.uint16))[1].tobytes()
        >>> read_deep_png(data)[0].max()
        np.uint16(300)
    """
    import cv2

    # Of other chunks libpng may print warnings.
    needed = b"".join([data[:8], *_chunks(data, (b"IHDR", b"tRNS", b"IDAT", b"IEND"))])
    pixels = cv2.imdecode(np.frombuffer(needed, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("its data is incomplete")
    alpha = pixels.shape[2] == 4
    return pixels[..., [2, 1, 0, 3] if alpha else [2, 1, 0]], alpha


def _chunks(data: bytes, names: tuple[bytes, ...]) -> Iterator[bytes]:
    """The chunks of a PNG that have one of these names, with their lengths and checksums."""
    start = 8
    while start + 8 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] in names:
            yield data[start:end]
        start = end


@functools.cache
def _tifffile() -> "ModuleType":
    """tifffile, which logs nothing of the files that are read here: errors are enough."""
    import tifffile

    logging.getLogger("tifffile").addFilter(lambda record: not _reading.tiff)
    return tifffile


class _Reading(threading.local):
    """Whether this thread reads a TIFF."""

    tiff = False


_reading = _Reading()


def read_tiff(data: bytes, name: str) -> tuple[NDArray, bool]:
    """Decodes the first page of a TIFF, of any depth and number of channels.

    Args:
        data: the bytes of the file.
        name: name of the image for messages.

    Returns:
        (H, W, C) of the file's type, upright, and whether the last channel is transparency.

    Raises:
        DataError: it is too large, or the package tifffile is missing.
        ValueError: it is damaged.

    Example:
        >>> import tifffile
        >>> file = io.BytesIO()
        >>> tifffile.imwrite(file, np.zeros((4, 6, 5), "H"), planarconfig="contig")
        >>> read_tiff(file.getvalue(), "bands.tif")[0].shape
        (4, 6, 5)
    """
    try:
        tifffile = _tifffile()
    except ImportError:
        raise DataError(
            f"{name}: a TIFF of this kind needs the package tifffile: pip install tifffile"
        ) from None
    _reading.tiff = True
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages[0]
            check_shape(name, page.imagelength, page.imagewidth, len(data))
            alpha = bool(page.extrasamples) and page.extrasamples[-1] in (1, 2)
            pixels = page.asarray()
            planes_first = page.axes.startswith("S")
            orientation = int(page.tags.valueof(ORIENTATION, 1))
    except DataError:
        raise
    except Exception as problem:  # its parser raises many kinds
        raise ValueError(str(problem)) from None
    finally:
        _reading.tiff = False
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3:
        raise ValueError(f"its first page has {pixels.ndim} axes")
    return upright(np.moveaxis(pixels, 0, -1) if planes_first else pixels, orientation), alpha


def read_npy(data: bytes, channels: int, name: str) -> NDArray:
    """Reads an array that NumPy saved.

    Args:
        data: the bytes of the file.
        channels: number of channels, which tells (H, W, C) from (C, H, W).
        name: name of the image for messages.

    Returns:
        (H, W, C) of the file's type.

    Raises:
        DataError: the array is no image.
        ValueError: the file is damaged.

    Example:
        >>> file = io.BytesIO()
        >>> np.save(file, np.zeros((5, 8, 9)))
        >>> read_npy(file.getvalue(), 5, "bands.npy").shape
        (8, 9, 5)
    """
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject or dtype.kind not in "buif" or len(shape) not in (2, 3):
        raise DataError(
            f"{name}: an array of {dtype} and shape {shape} is no image: save numbers of shape "
            "(height, width), (height, width, channels) or (channels, height, width)."
        )
    if len(shape) == 3 and channels not in (shape[0], shape[2]):
        raise DataError(_other_channels(name, min(shape[0], shape[2]), channels))
    planes_first = len(shape) == 3 and shape[2] != channels
    height, width = shape[1:] if planes_first else shape[:2]
    check_size(name, height * width)
    if math.prod(shape) * dtype.itemsize > len(data):
        raise ValueError("its data is incomplete")
    pixels = np.load(io.BytesIO(data), allow_pickle=False)
    if pixels.ndim == 2:
        return pixels[..., None]
    return np.moveaxis(pixels, 0, -1) if planes_first else pixels


def to_uint8(pixels: NDArray, white: float | None, name: str) -> NDArray[np.uint8]:
    """Scales pixels linearly, the same way for every image.

    Args:
        pixels: of any type of numbers; 0 is black.
        white: value that becomes 255; None for the largest of the type, which is 65535 for 16 bits
            and 1 for floats. 8-bit images stay as they are. With a value, what is darker than
            black or lighter than white is cut off.
        name: name of the image for messages.

    Returns:
        uint8 of the same shape.

    Raises:
        DataError: pixels are not on the scale, and no `white` was given; or they are no numbers.

    Example:
        >>> to_uint8(np.array([[0, 300, 65535]], np.uint16), None, "x.png")
        array([[  0,   1, 255]], dtype=uint8)
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    lowest, highest = pixels.min(), pixels.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise DataError(f"{name}: some pixels are no finite numbers: fill them in.")
    largest = _white_of(pixels.dtype) if white is None else white
    if white is None and (lowest < 0 or highest > largest):
        raise DataError(
            f"{name}: pixels from {lowest:g} to {highest:g} are not on the scale of 0 to "
            f"{largest:g}: set white= to the value that means white."
        )
    scaled = pixels.astype(np.float32) * np.float32(255 / largest)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _white_of(dtype: np.dtype) -> float:
    """The value of white. 32-bit integers are what decoders widen 16 bits to."""
    if dtype.kind == "f":
        return 1.0
    return 65535 if dtype.itemsize > 2 else int(np.iinfo(dtype).max)


def to_channels(
    pixels: NDArray[np.uint8], channels: int, name: str, alpha: bool = False
) -> NDArray[np.uint8]:
    """Converts between gray, colors and transparency; other channels are never guessed.

    Args:
        pixels: (H, W, C).
        channels: of the result: 1 for gray, 3 for RGB, or as many as the image has.
        name: name of the image for messages.
        alpha: whether the last channel is transparency, which becomes white.

    Returns:
        (H, W, channels).

    Raises:
        DataError: the channels are others.

    Example:
        >>> to_channels(np.zeros((4, 5, 1), np.uint8), 3, "x.png").shape
        (4, 5, 3)
    """
    count = pixels.shape[2]
    if count == channels:
        return pixels
    if alpha and count in (2, 4) and channels in (1, 3):
        opacity = pixels[..., -1:].astype(np.uint16)
        blended = pixels[..., :-1] * opacity + 255 * (255 - opacity)
        return to_channels(((blended + 127) // 255).astype(np.uint8), channels, name)
    if count == 1 and channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if count == 3 and channels == 1:  # ITU-R 601 luma, as in JPEG and Pillow
        luma = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        return np.rint(luma).astype(np.uint8)[..., None]
    raise DataError(_other_channels(name, count, channels))


def _other_channels(name: str, count: int, channels: int) -> str:
    return (
        f"{name}: an image of {count} channels cannot become one of {channels}: set channels="
        f"{count} for a new model, or convert it."
    )
