"""Decoding image files to uint8 tensors."""

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
ORIENTATION = 0x0112  # the EXIF tag that says which way is up


class BadImage(NamedTuple):
    """A file that could not be read, and why."""

    name: str
    reason: str


def decode(data: bytes, channels: int, name: str) -> Tensor:
    """The bytes of an image file → uint8 (channels, H, W), the right way up.

    JPEGs take the quick decoder; all else, and JPEGs with unusual colours, go through Pillow.
    Grey, palette, CMYK, 16-bit and transparent images are converted; transparency becomes white.
    Raises `DataError` naming the image if the data is no image or stops short.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise DataError(f"{name}: the file is empty.")
    try:
        with Image.open(io.BytesIO(data)) as picture:  # reads the header only
            upright = _is_upright(picture)
            if data.startswith(JPEG) and upright and picture.mode in ("RGB", "L"):
                return _decode_jpeg(data, channels)
            return from_pillow(picture if upright else ImageOps.exif_transpose(picture), channels)
    except UnidentifiedImageError:
        raise DataError(f"{name}: not an image (starts with {data[:8]!r}).") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise DataError(f"{name}: damaged image ({reason}).") from None


def _is_upright(picture: "Image") -> bool:
    """Whether EXIF leaves a picture as it is. Broken EXIF spoils no picture."""
    try:
        return picture.getexif().get(ORIENTATION, 1) == 1
    except Exception:  # Pillow's parser raises many kinds
        return True


def _decode_jpeg(data: bytes, channels: int) -> Tensor:
    import simplejpeg

    space = "GRAY" if channels == 1 else "RGB"
    pixels = simplejpeg.decode_jpeg(data, colorspace=space, strict=True)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def from_pillow(picture: "Image", channels: int) -> Tensor:
    """A Pillow image → uint8 (channels, H, W)."""
    import numpy as np
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":  # 16 or 32 bits of grey
        grey = np.asarray(picture, dtype=np.float64)
        picture = Image.fromarray((grey / max(grey.max(), 1.0) * 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    pixels = np.array(picture.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1).contiguous()


def read_image(path: str | Path, channels: int = 3) -> Tensor:
    """An image file → uint8 (channels, H, W). Raises `DataError` naming the path."""
    try:
        data = Path(path).read_bytes()
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}).") from None
    return decode(data, channels, str(path))


def to_tensor(image: Any, channels: int) -> Tensor:
    """A path, Pillow image, or uint8 tensor (C, H, W) → uint8 (channels, H, W)."""
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
    if image.shape[0] == 3 and channels == 1:  # ITU-R 601 luma, as JPEG and Pillow have it
        luma = image.new_tensor([299, 587, 114], dtype=torch.float32) / 1000
        return (image.float() * luma[:, None, None]).sum(0, keepdim=True).round().to(torch.uint8)
    raise DataError(f"image of {image.shape[0]} channels cannot become one of {channels}.")


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Image files under files, folders and glob patterns, each once, in a steady order.

    A file named outright is taken whatever its suffix. Raises `DataError` for what is not there.
    """
    import glob

    found: dict[Path, None] = {}
    for given in map(str, paths):
        path = Path(given).expanduser()
        if path.is_dir():
            matches = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            matches = [path]
        else:
            names = sorted(glob.glob(str(path), recursive=True))
            matches = [Path(name) for name in names if Path(name).is_file()]
        if not matches:
            raise DataError(
                f"no images at {given!r}: give a file, a folder or a quoted pattern such as "
                "'photos/*.jpg'."
            )
        found |= dict.fromkeys(matches)
    return list(found)
