"""An image file: its header first, its pixels when and as large as they are needed."""

import contextlib
import functools
import io
import math
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from vitrail.data.formats import (
    MAX_BYTES,
    available_formats,
    check_shape,
    check_size,
    check_tags,
    format_of,
    pillow,
    why_unknown,
)
from vitrail.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Result = TypeVar("Result")

ORIENTATION = 0x0112  # EXIF tag of how a camera was held
JPEG, PNG, TIFF = b"\xff\xd8\xff", b"\x89PNG", (b"II*\0", b"MM\0*")
JPEG_METADATA = (b"Exif\0", b"http://ns.adobe.com/xap/")  # where a camera says how it was held
START_OF_SCAN = b"\xff\xda"  # after which a JPEG holds pixels
PLAIN_SPACES = ("Gray", "YCbCr")
PNG_METADATA = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
SCALES = (8, 4, 2)  # reductions that libjpeg decodes to faster than to full size
LARGEST_SCRATCH = 2**24  # bytes
# Warnings of libjpeg after which every pixel is there: what follows in the file is padding.
HARMLESS = ("extraneous bytes", "Unknown Adobe color transform", "Invalid SOS parameters")


class _Scratch(threading.local):
    """Memory of each thread that is decoded into again and again: the system clears new memory."""

    memory = bytearray()

    def get(self, size: int) -> bytearray | None:
        if size > LARGEST_SCRATCH:
            return None
        if len(self.memory) < size:
            self.memory = bytearray(size)
        return self.memory


_scratch = _Scratch()


class ImageFile:
    """An encoded image, of which only the header was read.

    What is read afterwards, and at which size, is up to the caller: a JPEG of a camera decodes
    several times faster to an eighth of its size.

    Args:
        data: the bytes of the file.
        channels: 1 for gray, 3 for RGB, or the number of channels of the file.
        name: name of the image for messages.
        white: value of white in images of more than 8 bits; None for the largest value.

    Attributes:
        height: pixels, upright as EXIF says.
        width: the same.
        remark: what is odd about the file although all pixels could be read; "" for nothing. Set
            by `decode`.

    Raises:
        DataError: the data is no image, or too large.

    Example:
        >>> file = io.BytesIO()
        >>> pillow().new("L", (500, 400)).save(file, "jpeg")
        >>> image = ImageFile(file.getvalue(), 3, "black.jpg")
        >>> image.height, image.decode(at_least=(90, 90)).shape
        (400, torch.Size([3, 100, 125]))
    """

    def __init__(self, data: bytes, channels: int, name: str, white: float | None = None) -> None:
        self.data, self.channels, self.name, self.white = data, channels, name, white
        self.remark, self._orientation, self._is_jpeg = "", 1, False
        self._pixels: NDArray[np.uint8] | None = None
        if not data:
            raise DataError(f"{name}: the file is empty.")
        if len(data) > MAX_BYTES:
            raise DataError(
                f"{name}: {len(data) >> 20} MiB is more than the limit of {MAX_BYTES >> 20}."
            )
        self._size = self._guarded(self._read_header)  # as stored
        check_shape(name, *self._size, len(data))
        self.height, self.width = self._size[::-1] if self._orientation > 4 else self._size

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width, as all pixels would have them."""
        return self.channels, self.height, self.width

    def decode(self, at_least: tuple[int, int] | None = None, transient: bool = False) -> Tensor:
        """Decodes the pixels.

        Args:
            at_least: height and width that suffice; None for all pixels. A JPEG may then come out
                at a half, a quarter or an eighth of its size, but not below these.
            transient: whether the pixels are needed only until the thread decodes the next image,
                which may overwrite them, and may be a few levels off: that is faster.

        Returns:
            uint8 (C, H, W).

        Raises:
            DataError: the file is damaged, or its channels do not fit.
        """
        return torch.from_numpy(self.pixels(at_least, transient)).permute(2, 0, 1)

    def pixels(
        self, at_least: tuple[int, int] | None = None, transient: bool = False
    ) -> "NDArray[np.uint8]":
        """Decodes the pixels to an array.

        Args:
            at_least: see `decode`.
            transient: see `decode`.

        Returns:
            uint8 (H, W, C).

        Raises:
            DataError: the file is damaged, or its channels do not fit.
        """
        from vitrail.data.deep_pixels import upright  # needs NumPy

        pixels = self._guarded(lambda: self._read_pixels(at_least, transient))
        return upright(pixels, self._orientation)

    def verify(self) -> None:
        """Looks for damage. JPEGs are decoded to an eighth of their size, which reads all of them.

        Raises:
            DataError: the file is damaged, or its channels do not fit.
        """
        self.decode(at_least=(1, 1))
        if self.data.startswith(PNG):
            self._guarded(self._compare_checksums)
        if self.data.startswith(TIFF):
            self._guarded(self._count_pages)

    def _count_pages(self) -> None:
        """Remarks on a TIFF of several pages, which may be channels or slices."""
        from PIL import UnidentifiedImageError

        with contextlib.suppress(UnidentifiedImageError), self._open() as image:
            pages = getattr(image, "n_frames", 1)
            if pages > 1:
                self.remark = f"{pages} pages, of which the first is read"

    def _compare_checksums(self) -> None:
        """Raises what Pillow does if a chunk of a PNG is damaged, which decoding passes over."""
        with self._open() as image:
            image.verify()

    def _guarded(self, read: Callable[[], Result]) -> Result:
        """Calls a reader of the file; what it raises becomes one line."""
        from PIL import UnidentifiedImageError

        try:
            return read()
        except DataError:
            raise
        except pillow().DecompressionBombError as problem:  # its limit is ours
            check_size(self.name, int(re.findall(r"\d+", str(problem))[0]))
            raise
        except UnidentifiedImageError:
            raise DataError(f"{self.name}: {why_unknown(self.data)}.") from None
        except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as problem:
            reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
            kind = format_of(self.data) or "image"
            raise DataError(f"{self.name}: damaged {kind} ({reason}).") from None

    def _read_header(self) -> tuple[int, int]:
        """Height and width as stored. Rare kinds of files are decoded here already."""
        from PIL import UnidentifiedImageError

        from vitrail.data import deep_pixels

        if self.data.startswith(deep_pixels.NPY):
            return self._keep(deep_pixels.read_npy(self.data, self.channels, self.name))
        if self.data.startswith(JPEG) and not _has_metadata(self.data):
            import simplejpeg

            with contextlib.suppress(ValueError, KeyError):  # damaged: Pillow says how
                height, width, space, _ = simplejpeg.decode_jpeg_header(self.data)
                if space in PLAIN_SPACES:
                    self._is_jpeg = True
                    return height, width
        check_tags(self.name, self.data)
        try:
            with self._open() as image:
                if not deep_pixels.is_cut_by_pillow(image):
                    self._orientation = _orientation(image, self.data)
                    self._is_jpeg = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
                    return image.height, image.width
        except UnidentifiedImageError:
            if not self.data.startswith(deep_pixels.TIFF):
                raise
        return self._keep(*deep_pixels.read_tiff(self.data, self.name))

    def _keep(self, pixels: "NDArray", alpha: bool = False) -> tuple[int, int]:
        from vitrail.data.deep_pixels import to_channels, to_uint8

        scaled = to_uint8(pixels, self.white, self.name)
        self._pixels = to_channels(scaled, self.channels, self.name, alpha)
        return pixels.shape[0], pixels.shape[1]

    def _open(self) -> "Image":
        return pillow().open(io.BytesIO(self.data), formats=available_formats())

    def _read_pixels(self, at_least: tuple[int, int] | None, transient: bool) -> "NDArray":
        from vitrail.data import deep_pixels

        if self._pixels is not None:
            return self._pixels
        if self._is_jpeg:
            return self._read_jpeg(at_least, transient)
        with self._open() as image:
            if deep_pixels.is_deep_png(self.data):
                image.load()  # finds damage that OpenCV passes over
                self._keep(*deep_pixels.read_deep_png(self.data))
                assert self._pixels is not None
                return self._pixels
            return pillow_pixels(image, self.channels, self.white, self.name)

    def _read_jpeg(self, at_least: tuple[int, int] | None, transient: bool) -> "NDArray":
        import simplejpeg

        from vitrail.data.deep_pixels import to_channels

        height, width = self._size
        if at_least is not None:
            rows, columns = at_least[::-1] if self._orientation > 4 else at_least
            for scale in SCALES:
                if height >= scale * rows and width >= scale * columns:
                    height, width = math.ceil(height / scale), math.ceil(width / scale)
                    break
        decode_jpeg = functools.partial(
            simplejpeg.decode_jpeg,
            self.data,
            colorspace="GRAY" if self.channels == 1 else "RGB",
            min_height=height,
            min_width=width,
            fastdct=transient,
            buffer=_scratch.get(3 * math.prod(self._size)) if transient else None,
        )
        try:
            pixels = decode_jpeg(strict=True)
        except ValueError as problem:
            if not any(text in str(problem) for text in HARMLESS):
                raise
            self.remark = str(problem)
            pixels = decode_jpeg(strict=False)
        return to_channels(pixels, self.channels, self.name)


def _has_metadata(data: bytes) -> bool:
    """Whether what comes before the pixels of a JPEG says how its camera was held."""
    start = 2
    while data[start : start + 1] == b"\xff" and data[start : start + 2] != START_OF_SCAN:
        start += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    end = start if data[start : start + 2] == START_OF_SCAN else len(data)
    return any(data.find(text, 0, end) >= 0 for text in JPEG_METADATA)


def _orientation(image: "Image", data: bytes) -> int:
    """How the stored image is turned and mirrored, 1 to 8 as in EXIF. Broken EXIF is ignored."""
    if image.format == "TIFF":
        return 1  # Pillow has turned it
    if image.format == "PNG" and not any(text in data for text in PNG_METADATA):
        return 1  # Pillow would decode the whole image to look for it behind the pixels
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow's parser raises many kinds
        return 1
    return orientation if orientation in range(1, 9) else 1


def pillow_pixels(
    image: "Image", channels: int, white: float | None, name: str
) -> "NDArray[np.uint8]":
    """Converts a Pillow image of any mode.

    Args:
        image: the image.
        channels: 1 for gray, 3 for RGB, or the number of channels of the image.
        white: value of white in images of more than 8 bits; None for the largest value.
        name: name of the image for messages.

    Returns:
        uint8 (H, W, channels); transparency becomes white.

    Raises:
        DataError: the image has other channels.

    Example:
        >>> pillow_pixels(pillow().new("P", (5, 4)), 3, None, "x").shape
        (4, 5, 3)
    """
    import numpy as np

    from vitrail.data.deep_pixels import to_channels, to_uint8

    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if channels in (1, 3) and not image.mode.startswith(("I", "F")):
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = pillow().alpha_composite(pillow().new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == 1 else "RGB")
    pixels = np.array(image)
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return to_channels(to_uint8(pixels, white, name), channels, name)
