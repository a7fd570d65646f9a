"""Decoding of image files to uint8 tensors."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from vitrail.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
JPEG = b"\xff\xd8\xff"
ORIENTATION = 0x0112  # EXIF tag of how a camera was held


class BadImage(NamedTuple):
    """A file that could not be read.

    Args:
        name: its path or name.
        reason: why it could not be read.

    Example:
        >>> BadImage("cat/1.jpg", "the file is empty").reason
        'the file is empty'
    """

    name: str
    reason: str


def decode(data: bytes, channels: int, name: str) -> Tensor:
    """Decodes an image file, rotated as its EXIF says.

    JPEGs go through a fast decoder; other formats, and JPEGs with unusual colors, through Pillow.
    Gray, palette, CMYK, 16-bit and transparent images are converted; transparency becomes white.

    Args:
        data: the bytes of the file.
        channels: 1 for gray, 3 for RGB.
        name: name of the image for messages.

    Returns:
        uint8 (channels, H, W).

    Raises:
        DataError: the data is no image, or incomplete.

    Example:
        >>> import io, PIL.Image
        >>> file = io.BytesIO()
        >>> PIL.Image.new("L", (5, 4)).save(file, "png")
        >>> decode(file.getvalue(), 3, "black.png").shape
        torch.Size([3, 4, 5])
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise DataError(f"{name}: the file is empty.")
    try:
        with Image.open(io.BytesIO(data)) as image:  # reads the header only
            upright = _is_upright(image)
            if data.startswith(JPEG) and upright and image.mode in ("RGB", "L"):
                return _decode_jpeg(data, channels)
            return from_pillow(image if upright else ImageOps.exif_transpose(image), channels)
    except UnidentifiedImageError:
        raise DataError(f"{name}: not an image (starts with {data[:8]!r}).") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise DataError(f"{name}: damaged image ({reason}).") from None


def _is_upright(image: "Image") -> bool:
    """Whether EXIF asks for no rotation. Broken EXIF is ignored."""
    try:
        return image.getexif().get(ORIENTATION, 1) == 1
    except Exception:  # Pillow's parser raises many kinds
        return True


def _decode_jpeg(data: bytes, channels: int) -> Tensor:
    import simplejpeg

    space = "GRAY" if channels == 1 else "RGB"
    pixels = simplejpeg.decode_jpeg(data, colorspace=space, strict=True)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def from_pillow(image: "Image", channels: int) -> Tensor:
    """Converts a Pillow image.

    Args:
        image: of any mode.
        channels: 1 for gray, 3 for RGB.

    Returns:
        uint8 (channels, H, W).

    Example:
        >>> import PIL.Image
        >>> from_pillow(PIL.Image.new("RGBA", (5, 4)), 3).shape
        torch.Size([3, 4, 5])
    """
    import numpy as np
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":  # 16 or 32 bits of gray
        gray = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((gray / max(gray.max(), 1.0) * 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1).contiguous()


def read_image(path: str | Path, channels: int = 3) -> Tensor:
    """Reads an image file.

    Args:
        path: the file.
        channels: 1 for gray, 3 for RGB.

    Returns:
        uint8 (channels, H, W).

    Raises:
        DataError: the file cannot be read; the message names it.

    Example:
        >>> import pathlib, tempfile, PIL.Image
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "black.png"
        >>> PIL.Image.new("RGB", (5, 4)).save(path)
        >>> read_image(path).shape
        torch.Size([3, 4, 5])
    """
    try:
        data = Path(path).read_bytes()
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}).") from None
    return decode(data, channels, str(path))


def to_tensor(image: Any, channels: int) -> Tensor:
    """Converts whatever holds an image.

    Args:
        image: a path, a Pillow image, or a uint8 tensor (C, H, W).
        channels: 1 for gray, 3 for RGB.

    Returns:
        uint8 (channels, H, W).

    Raises:
        DataError: the tensor is no image, or has a number of channels that cannot be converted.

    Example:
        >>> to_tensor(torch.zeros(1, 4, 5, dtype=torch.uint8), 3).shape
        torch.Size([3, 4, 5])
    """
    if isinstance(image, str | Path):
        return read_image(image, channels)
    if not isinstance(image, Tensor):
        return from_pillow(image, channels)
    if image.dtype != torch.uint8 or image.ndim != 3:
        raise DataError(
            f"image tensor of {image.dtype} and shape {tuple(image.shape)}: "
            "give uint8 of shape (channels, height, width)."
        )
    if image.shape[0] == channels:
        return image
    if image.shape[0] == 1:
        return image.expand(channels, -1, -1)
    if image.shape[0] == 3 and channels == 1:  # ITU-R 601 luma, as in JPEG and Pillow
        luma = image.new_tensor([299, 587, 114], dtype=torch.float32) / 1000
        return (image.float() * luma[:, None, None]).sum(0, keepdim=True).round().to(torch.uint8)
    raise DataError(
        f"an image of {image.shape[0]} channels cannot become one of {channels}: give 1 or 3."
    )


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Finds image files.

    Args:
        paths: files, folders, which are searched with all folders below, and glob patterns. A file
            that is named itself counts whatever its suffix.

    Returns:
        Each file once, in a fixed order.

    Raises:
        DataError: a path leads to no image.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> (folder / "cat.jpg").touch(), (folder / "notes.txt").touch()
        (None, None)
        >>> [path.name for path in find_images([folder])]
        ['cat.jpg']
    """
    import glob

    files: dict[Path, None] = {}
    for text in map(str, paths):
        path = Path(text).expanduser()
        if path.is_dir():
            matches = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            matches = [path]
        else:
            names = sorted(glob.glob(str(path), recursive=True))
            matches = [Path(name) for name in names if Path(name).is_file()]
        if not matches:
            raise DataError(
                f"no images at {text!r}: give a file, a folder or a quoted pattern such as "
                "'photos/*.jpg'."
            )
        files |= dict.fromkeys(matches)
    return list(files)
