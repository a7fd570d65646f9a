"""Which image files are read: an allow-list of formats, and limits on their sizes."""

import functools
import os
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING

from vitrail.errors import DataError

if TYPE_CHECKING:
    from types import ModuleType

# Pillow's names of what is decoded, whatever a file is called. Formats that run programs or draw
# vectors (EPS, PostScript, PDF, WMF, SVG) are not: convert those. TGA has no signature: it is last.
FORMATS = (
    "JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "JPEG2000", "AVIF", "HEIF", "ICO",
    "ICNS", "PPM", "PCX", "SGI", "QOI", "DDS", "TGA",
)  # fmt: skip
SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp",
    ".tif", ".tiff", ".jp2", ".j2k", ".jpx", ".avif", ".avifs", ".ico", ".icns", ".ppm", ".pgm",
    ".pbm", ".pnm", ".pfm", ".pcx", ".sgi", ".qoi", ".dds", ".tga", ".npy",
))  # fmt: skip
HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})  # read where pillow-heif is installed
SIGNATURES = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF",
    b"MM\0*": "TIFF", b"\x93NUMPY": "NPY", b"\0\0\0\x0cjP": "JPEG 2000", b"%PDF": "PDF",
    b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "EPS", b"\xd7\xcd\xc6\x9a": "WMF",
    b"<svg": "SVG", b"<?xml": "SVG or XML",
}  # fmt: skip
REFUSED = ("PDF", "PostScript", "EPS", "WMF", "SVG", "SVG or XML")
MAX_PIXELS = 178_956_970  # as many as Pillow allows: 512 MiB of RGB
MAX_BYTES = 2**30


def is_image_name(name: str) -> bool:
    """Whether a file is one of images by its suffix.

    Args:
        name: a path or the name of a file.

    Returns:
        Whether images of that suffix can be read with the packages that are installed.

    Example:
        >>> is_image_name("cat/1.JPG"), is_image_name("notes.txt")
        (True, False)
    """
    suffix = os.path.splitext(name)[1].lower()
    return suffix in SUFFIXES or (suffix in HEIC_SUFFIXES and has_heif())


@functools.cache
def has_heif() -> bool:
    """Whether HEIC files can be read.

    Returns:
        Whether the package pillow-heif is installed.

    Example:
        >>> isinstance(has_heif(), bool)
        True
    """
    return find_spec("pillow_heif") is not None


@functools.cache
def pillow() -> "ModuleType":
    """Pillow's module `PIL.Image`, ready for all formats that are read.

    Returns:
        The module.

    Example:
        >>> pillow().__name__
        'PIL.Image'
    """
    from PIL import Image

    if has_heif():
        import pillow_heif

        pillow_heif.register_heif_opener()
    # Pillow's warnings are several lines per file; `check_size` and `ImageFile.remark` say in one
    # what matters.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image


@functools.cache
def available_formats() -> list[str]:
    """The formats of the allow-list that the installed Pillow decodes.

    Returns:
        Their names, in the order in which they are tried.

    Example:
        >>> available_formats()[0]
        'JPEG'
    """
    module = pillow()
    module.init()
    return [name for name in FORMATS if name in module.OPEN]


def format_of(data: bytes) -> str | None:
    """The format that the first bytes of a file announce.

    Args:
        data: the bytes of the file.

    Returns:
        The name of a format of `FORMATS`; None for any other.

    Example:
        >>> format_of(b"GIF89a")
        'GIF'
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:11] == b"avi" else "HEIC" if data[8:12] in _HEIC else None
    return next((name for start, name in SIGNATURES.items() if data.startswith(start)), None)


_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def why_unknown(data: bytes) -> str:
    """Why no decoder takes a file.

    Args:
        data: the bytes of the file.

    Returns:
        One clause, with a cure where there is one.

    Example:
        >>> why_unknown(b"hello"), why_unknown(b"GIF87a")
        ("not an image (starts with b'hello')", 'damaged GIF (its header is incomplete)')
    """
    name = format_of(data)
    if name is None:
        return f"not an image (starts with {data[:8]!r})"
    if name in REFUSED:
        return f"{name} is not read: convert it to PNG or JPEG"
    if name == "HEIC" and not has_heif():
        return "HEIC needs the package pillow-heif: pip install pillow-heif"
    return f"damaged {name} (its header is incomplete)"


def check_size(name: str, pixels: int) -> None:
    """Checks the number of pixels of an image, before they are decoded.

    Args:
        name: name of the image for messages.
        pixels: height times width, as its header says.

    Raises:
        DataError: there are more than `MAX_PIXELS`, or none.

    Example:
        >>> check_size("map.png", 20000 * 20000)
        Traceback (most recent call last):
        vitrail.errors.DataError: map.png: 400 megapixels are more than the limit of 178: make it...
    """
    if pixels < 1:
        raise DataError(f"{name}: the image has no pixels.")
    if pixels > MAX_PIXELS:
        raise DataError(
            f"{name}: {pixels // 1_000_000} megapixels are more than the limit of "
            f"{MAX_PIXELS // 1_000_000}: make it smaller, or cut it into tiles."
        )
