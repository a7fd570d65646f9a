"""Which image files are read: an allow-list of formats, and limits on their sizes."""

import functools
import os
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

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
    b"<svg": "SVG", b"<?xml": "SVG or XML", b"8BPS": "Photoshop's PSD",
}  # fmt: skip
REFUSED = ("Photoshop's PSD", "PDF", "PostScript", "EPS", "WMF", "SVG", "SVG or XML")
MAX_PIXELS = 178_956_970  # as many as Pillow allows: 512 MiB of RGB
MAX_BYTES = 2**30
MAX_TAGS = 1000  # of a TIFF; cameras and microscopes write tens
MAX_ASPECT = 300  # longer side over the shorter; to resize a line would make it as wide as long
# A photograph takes a pixel 0.25 bits or more. Above so many pixels, fewer are a bomb.
SPARSE_PIXELS, PIXELS_PER_BYTE = 12_000_000, 32
ALLOWED = "VITRAIL_MAX_PIXELS"  # environment variable: pixels of an image, however few its bytes


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
    stem, dot, ending = name.rpartition(".")
    suffix = (dot + ending).lower()
    if stem[-1:] in ("", "/", os.sep):  # of ".jpg", which is all of the name
        return False
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
    if data.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the image: `git lfs pull` fetches it"
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
    limit = min(_allowed() or MAX_PIXELS, MAX_PIXELS)
    if pixels > limit:
        raise DataError(
            f"{name}: {pixels // 1_000_000} megapixels are more than the limit of "
            f"{limit // 1_000_000}: make it smaller, or cut it into tiles."
        )


def check_shape(name: str, height: int, width: int, size: int) -> None:
    """Checks what an image unfolds to, before its pixels are decoded.

    A few bytes may stand for so many pixels that decoding or resizing them takes seconds and
    gigabytes. The environment variable VITRAIL_MAX_PIXELS allows so many pixels, however few bytes
    they take, or fewer than 178 million.

    Args:
        name: name of the image for messages.
        height: pixels, as its header says.
        width: the same.
        size: bytes of the file.

    Raises:
        DataError: there are too many pixels, too many for so few bytes, or one side is far longer
            than the other.

    Example:
        >>> check_shape("line.png", 1, 100_000, 300)
        Traceback (most recent call last):
        vitrail.errors.DataError: line.png: one side of 100000 x 1 pixels is more than 300 times ...
    """
    pixels = height * width
    check_size(name, pixels)
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise DataError(
            f"{name}: one side of {width} x {height} pixels is more than {MAX_ASPECT} times the "
            "other: cut it into tiles."
        )
    check_unfolding(name, pixels, size)


def check_tags(name: str, data: bytes) -> None:
    """Checks how many tags the first page of a TIFF has: readers take time for each of them.

    Args:
        name: name of the image for messages.
        data: the bytes of the file; what is no TIFF passes.

    Raises:
        DataError: there are more tags than any camera or microscope writes.

    Example:
        >>> check_tags("scan.tif", b"II*" + bytes([0, 8, 0, 0, 0, 0x88, 0x13]))
        Traceback (most recent call last):
        vitrail.errors.DataError: scan.tif: a TIFF of 5000 tags, ...
    """
    if format_of(data) != "TIFF":
        return
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    start = int.from_bytes(data[4:8], order)
    tags = int.from_bytes(data[start : start + 2], order)
    if tags > MAX_TAGS:
        raise DataError(
            f"{name}: a TIFF of {tags} tags, as in an attack (limit {MAX_TAGS}): save it anew as "
            "a PNG."
        )


def check_unfolding(name: str, count: int, size: int, unit: str = "megapixels") -> None:
    """Checks that a file is large enough for what it says to hold.

    Args:
        name: name of the file for messages.
        count: pixels or voxels, as its header says.
        size: bytes of the file.
        unit: a million of them.

    Raises:
        DataError: there are too many for so few bytes.

    Example:
        >>> check_unfolding("brain.nii.gz", 10**9, 10**6, "million voxels")
        Traceback (most recent call last):
        vitrail.errors.DataError: brain.nii.gz: 1,000,000 bytes unfold to 1000 million voxels, ...
    """
    if count > max(SPARSE_PIXELS, PIXELS_PER_BYTE * size) and not _allowed():
        raise DataError(
            f"{name}: {size:,} bytes unfold to {count // 1_000_000} {unit}, as in an attack: "
            f"make it smaller, or allow them by the environment variable {ALLOWED}={count}."
        )


def _allowed() -> int | None:
    """The largest number of pixels that the user has set."""
    text = os.environ.get(ALLOWED, "")
    if text and not text.isdecimal():
        raise DataError(f"{ALLOWED}={text!r} is no number of pixels, such as 100000000.")
    return int(text) if text else None
