"""What the files are that a table names: images, videos, volumes or signals."""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vitrail.data.file_spans import map_array
from vitrail.data.formats import is_image_name
from vitrail.data.recording_inputs import KINDS, RecordingKind
from vitrail.data.signals import is_signal_file
from vitrail.data.videos import TIFF, count_pages, images_in, is_video_file
from vitrail.data.volumes import NIFTI
from vitrail.errors import DataError

TRIED = 10  # files of one suffix that are opened, until one can be read
FEW_CHANNELS = 4  # of what is surely an image
FEW_ROWS, LONG = 16, 8  # an array of so few rows, and so many times longer, may be a signal
FEW_PAGES = 2  # of a TIFF that is an image, perhaps with its thumbnail
IMAGES = "images"


def find_kind(files: Sequence[Path], source: str) -> RecordingKind | None:
    """What files are, by their suffixes, and by the content of one file of each suffix.

    Args:
        files: the files of a dataset, or folders of frames or slices.
        source: what names them, for messages.

    Returns:
        Videos, volumes or signals; None for images.

    Raises:
        DataError: they are of several kinds, or may be of two.

    Example:
        >>> find_kind([Path("1.mp4"), Path("2.avi")], "clips.csv").name
        'videos'
        >>> find_kind([Path("1.jpg"), Path("2.tif")], "photos.csv") is None
        True
    """
    by_suffix: dict[str, list[Path]] = {}
    for file in files:
        few = by_suffix.setdefault(file.suffix.lower(), [])
        if len(few) < TRIED:
            few.append(file)
    examples: dict[str, Path] = {}
    for few in by_suffix.values():
        kinds = (_kind(file, source) for file in few)
        name, file = next(
            ((kind, file) for kind, file in zip(kinds, few, strict=False) if kind),
            (IMAGES, few[0]),  # none can be read, which reading them says
        )
        examples.setdefault(name, file)
    if len(examples) > 1:
        (first, one), (second, other) = list(examples.items())[:2]
        raise DataError(
            f"{source}: {one} is of {first}, and {other} of {second}: write a table for each."
        )
    return KINDS.get(next(iter(examples), IMAGES))


def _kind(file: Path, source: str) -> str:
    """A name of `KINDS`, or "images"; "" for a file that does not say."""
    name = file.name.lower()
    if name.endswith(".npy"):
        return _kind_of_array(file, source)
    if is_video_file(file):
        return "videos"
    if name.endswith(NIFTI):
        return "volumes"
    if is_signal_file(file):
        return "signals"
    if name.endswith(TIFF):
        pages = count_pages(file)
        return "" if not pages else "volumes" if pages > FEW_PAGES else IMAGES
    if is_image_name(name):
        return IMAGES
    if file.is_dir() and images_in(file):
        _refuse(source, f"{file} is a folder of images", "videos", "volumes")
    return ""


def _kind_of_array(file: Path, source: str) -> str:
    try:
        shape = map_array(file).shape
    except (OSError, ValueError, EOFError):
        return ""
    what = f"{file} has shape {shape}"
    if len(shape) == 2 and min(shape) < FEW_ROWS and max(shape) > LONG * min(shape):
        _refuse(source, what, "signals", IMAGES)
    if len(shape) == 3 and min(shape[0], shape[2]) > FEW_CHANNELS:
        _refuse(source, what, "volumes", IMAGES)
    return {1: "signals", 2: IMAGES, 3: IMAGES, 4: "volumes"}.get(len(shape), "")


def _refuse(source: str, what: str, first: str, second: str) -> NoReturn:
    raise DataError(
        f"{source}: {what}, and may be of {first} or {second}: add ?kind={first} or ?kind={second}."
    )
