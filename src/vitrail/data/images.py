"""Decoding of image files to uint8 tensors."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.data.folders import scan
from vitrail.data.formats import is_image_name
from vitrail.data.image_file import ImageFile, pillow_pixels
from vitrail.errors import DataError, describe_value
from vitrail.values import PositiveFloat, PositiveInt

if TYPE_CHECKING:
    from PIL.Image import Image


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


@checked
def decode(
    data: bytes, channels: PositiveInt, name: str, white: PositiveFloat | None = None
) -> Tensor:
    """Decodes an image file, rotated as its EXIF says.

    JPEGs go through a fast decoder; other formats, and JPEGs with unusual colors, through Pillow.
    Gray, palette, CMYK and transparent images are converted; transparency becomes white. Images of
    more than 8 bits are scaled by `white`, the same way for every image.

    Args:
        data: the bytes of the file.
        channels: 1 for gray, 3 for RGB, or the number of channels of the file.
        name: name of the image for messages.
        white: value of white in images of more than 8 bits; None for the largest value: 65535 for
            16 bits, 1 for floats.

    Returns:
        uint8 (channels, H, W).

    Raises:
        DataError: the data is no image, or incomplete, or has other channels.

    Example:
        >>> import io, PIL.Image
        >>> file = io.BytesIO()
        >>> PIL.Image.new("L", (5, 4)).save(file, "png")
        >>> decode(file.getvalue(), 3, "black.png").shape
        torch.Size([3, 4, 5])
    """
    return ImageFile(data, channels, name, white).decode()


def from_pillow(image: "Image", channels: int, white: float | None = None) -> Tensor:
    """Converts a Pillow image.

    Args:
        image: of any mode.
        channels: 1 for gray, 3 for RGB, or the number of channels of the image.
        white: value of white in images of more than 8 bits; None for the largest value.

    Returns:
        uint8 (channels, H, W).

    Raises:
        DataError: the image has other channels.

    Example:
        >>> import PIL.Image
        >>> from_pillow(PIL.Image.new("RGBA", (5, 4)), 3).shape
        torch.Size([3, 4, 5])
    """
    return torch.from_numpy(pillow_pixels(image, channels, white, "image")).permute(2, 0, 1)


def open_image(path: str | Path, channels: int = 3, white: float | None = None) -> ImageFile:
    """Reads a file and the header of the image in it.

    Args:
        path: the file.
        channels: 1 for gray, 3 for RGB, or the number of channels of the file.
        white: value of white in images of more than 8 bits; None for the largest value.

    Returns:
        The image, to be decoded.

    Raises:
        DataError: the file cannot be read; the message names it.

    Example:
        >>> import pathlib, tempfile, PIL.Image
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "black.png"
        >>> PIL.Image.new("RGB", (5, 4)).save(path)
        >>> open_image(path).width
        5
    """
    try:
        data = Path(path).read_bytes()
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}).") from None
    except ValueError:  # a zero byte
        raise DataError(f"{describe_value(str(path))} is no path of a file.") from None
    return ImageFile(data, channels, str(path), white)


@checked
def read_image(
    path: str | Path, channels: PositiveInt = 3, white: PositiveFloat | None = None
) -> Tensor:
    """Reads an image file.

    Args:
        path: the file.
        channels: 1 for gray, 3 for RGB, or the number of channels of the file.
        white: value of white in images of more than 8 bits; None for the largest value.

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
    return open_image(path, channels, white).decode()


def to_tensor(image: Any, channels: int, white: float | None = None) -> Tensor:
    """Converts whatever holds an image.

    Args:
        image: a path, a Pillow image, an `ImageFile`, or a uint8 tensor (C, H, W).
        channels: number of channels of the result; gray and RGB are converted.
        white: value of white in images of more than 8 bits; None for the largest value.

    Returns:
        uint8 (channels, H, W).

    Raises:
        DataError: it is no image, or has a number of channels that cannot be converted.

    Example:
        >>> to_tensor(torch.zeros(1, 4, 5, dtype=torch.uint8), 3).shape
        torch.Size([3, 4, 5])
    """
    if isinstance(image, str | Path):
        return open_image(image, channels, white).decode()
    if isinstance(image, ImageFile):
        return image.decode()
    if not isinstance(image, Tensor):
        if not hasattr(image, "getbands"):  # which Pillow's images have
            raise DataError(
                f"an object of type {type(image).__name__} is no image: give a path, a Pillow "
                "image or a uint8 tensor (channels, height, width). PIL.Image.open makes an image "
                "of a stream, PIL.Image.fromarray one of an array (height, width, channels)."
            )
        return from_pillow(image, channels, white)
    if image.dtype != torch.uint8 or image.ndim != 3:
        raise DataError(
            f"image tensor of {image.dtype} and shape {tuple(image.shape)}: "
            "give uint8 of shape (channels, height, width)."
        )
    if image.shape[0] == channels:
        return image
    if image.shape[0] == 1 and channels == 3:
        return image.expand(channels, -1, -1)
    if image.shape[0] == 3 and channels == 1:  # ITU-R 601 luma, as in JPEG and Pillow
        luma = image.new_tensor([299, 587, 114], dtype=torch.float32) / 1000
        return (image.float() * luma[:, None, None]).sum(0, keepdim=True).round().to(torch.uint8)
    raise DataError(
        f"an image of {image.shape[0]} channels cannot become one of {channels}: give as many, or "
        "gray or RGB for a model of the other."
    )


@checked
def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Finds image files.

    Args:
        paths: files, folders, which are searched with all folders below but hidden ones, and glob
            patterns. A file that is named itself counts whatever its suffix.

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
            tree, _ = scan(path, is_image_name)
            matches = list(map(Path, tree.walk()))
        elif path.is_file():
            matches = [path]
        else:
            names = sorted(glob.glob(str(path), recursive=True))
            matches = [Path(name) for name in names if Path(name).is_file()]
        kind, colon, rest = text.partition(":")
        if not matches and rest.startswith("//"):
            raise DataError(f"{text!r} is an address: download the image, and name its file.")
        if not matches and colon and Path(rest).exists():
            raise DataError(f"no images at {text!r}: write {rest}, without {kind}:")
        if not matches and any((path / name).exists() for name in ("run.yaml", "config.json")):
            raise DataError(
                f"no images at {text!r}, which is a model or a run: give it as the model, on the "
                f"command line by --model {text}."
            )
        if not matches:
            raise DataError(
                f"no images at {text!r}: give a file, a folder or a quoted pattern such as "
                "'photos/*.jpg'."
            )
        files |= dict.fromkeys(matches)
    return list(files)
