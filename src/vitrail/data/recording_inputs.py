"""Videos, volumes and signals as the input of a model."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.data.file_spans import Source
from vitrail.data.folders import scan
from vitrail.data.images import find_images, to_tensor
from vitrail.data.recordings import Recording, resample, sample
from vitrail.data.signals import is_signal_file, open_signal
from vitrail.data.videos import is_image_folder, is_video_file, open_video
from vitrail.data.volumes import is_volume_file, open_volume
from vitrail.errors import DataError
from vitrail.preprocess import Preprocess, Sampling


@dataclasses.dataclass(frozen=True)
class RecordingKind:
    """Videos, volumes or signals.

    Args:
        name: "videos", "volumes" or "signals".
        axes: number of axes of a recording.
        is_file: path of a file → whether it is a recording of this kind.
        is_folder: path of a folder → whether it is one recording.
        open: opens it.
        examples: what such files are called, for messages.

    Example:
        >>> KINDS["signals"].axes
        1
    """

    name: str
    axes: int
    is_file: Callable[[Source], bool]
    is_folder: Callable[[Path], bool] | None
    open: Callable[[Source], Recording]
    examples: str


KINDS = {
    "videos": RecordingKind(
        "videos",
        3,
        is_video_file,
        is_image_folder,
        open_video,
        "files such as .mp4 and .avi, or folders of frames",
    ),
    "volumes": RecordingKind(
        "volumes",
        3,
        is_volume_file,
        is_image_folder,
        open_volume,
        ".npy, .nii.gz and .tif files, or folders of slices",
    ),
    "signals": RecordingKind(
        "signals", 1, is_signal_file, None, open_signal, ".csv, .npy and .wav files"
    ),
}


def fit_recording(source: Any, preprocess: Preprocess) -> Tensor:
    """A video, a volume or a signal as the input of a model.

    Args:
        source: a path, or a tensor (C, *any). uint8 tensors of three axes are videos or volumes
            whose slices are resized and cropped like images; others are resampled along all axes.
        preprocess: size and sampling of the model.

    Returns:
        (C, n · size[0], ...), where n is the number of parts.

    Raises:
        DataError: it cannot be read, or has other axes or channels.

    Example:
        >>> fit_recording(torch.zeros(1, 20), Preprocess((8,), None, mean=(0.0,), std=(1.0,))).shape
        torch.Size([1, 8])
    """
    size, channels = preprocess.size, preprocess.channels
    if isinstance(source, str | Path):
        recording = open_recording(Path(source), preprocess)
        source = clipped(sample(recording, size, preprocess.sampling), preprocess.sampling)
    if not isinstance(source, Tensor) or source.ndim != len(size) + 1:
        what = tuple(source.shape) if isinstance(source, Tensor) else type(source).__name__
        raise DataError(
            f"{what} is no sample for inputs of {' x '.join(map(str, size))}: give a path or a "
            f"tensor of shape (channels, {', '.join(['any'] * len(size))})."
        )
    parts = max(source.shape[1] // size[0], 1) if source.shape[1] % size[0] == 0 else 1
    whole = (parts * size[0], *size[1:])
    source = _with_channels(source, channels)
    if source.shape[1:] == torch.Size(whole):
        return source
    if source.dtype != torch.uint8 or len(size) == 1:
        return resample(source, whole)
    if source.shape[1] != whole[0]:
        source = resample(source, (whole[0], *source.shape[2:]))
    planes = source.flatten(0, 1)
    mean, std = (
        tuple(value for value in values for _ in range(source.shape[1]))
        for values in (preprocess.mean, preprocess.std)
    )
    flat = dataclasses.replace(preprocess, size=size[1:], mean=mean, std=std)
    return flat.crop(planes).unflatten(0, source.shape[:2])


def open_recording(path: Path, preprocess: Preprocess) -> Recording:
    """Opens what a model of signals, videos or volumes takes.

    Args:
        path: a file or a folder. Folders of images are videos for models of three channels, and
            volumes for others.
        preprocess: of the model.

    Returns:
        The recording.

    Raises:
        DataError: it is of another kind, or cannot be read.

    Example:
        >>> open_recording(Path("notes.md"), Preprocess((8,), None))
        Traceback (most recent call last):
        vitrail.errors.DataError: notes.md: is no signal: give .csv, .npy and .wav files.
    """
    if len(preprocess.size) == 1:
        if not is_signal_file(path):
            raise DataError(f"{path}: is no signal: give {KINDS['signals'].examples}.")
        return open_signal(path)
    is_folder = is_image_folder(path)
    if is_video_file(path) or (is_folder and preprocess.channels == 3):
        return open_video(path, short_side=2 * max(preprocess.size[1:]))
    if is_volume_file(path) or is_folder:
        return open_volume(path)
    raise DataError(
        f"{path}: is neither a video nor a volume: give {KINDS['videos'].examples}; or "
        f"{KINDS['volumes'].examples}."
    )


def find_inputs(paths: Iterable[str | Path], preprocess: Preprocess) -> list[Path]:
    """Finds what a model takes: images, videos and volumes, or signals.

    Args:
        paths: files, folders, which are searched with all folders below, and glob patterns. A file
            that is named itself counts whatever its suffix.
        preprocess: of the model.

    Returns:
        Each file, or folder of frames or slices, once, in a fixed order.

    Raises:
        DataError: a path leads to none.

    Example:
        >>> find_inputs(["nowhere/*.csv"], Preprocess((8,), None))
        Traceback (most recent call last):
        vitrail.errors.DataError: no signals at 'nowhere/*.csv': give .csv, .npy and .wav files.
    """
    axes = len(preprocess.size)
    if axes == 2:
        return find_images(paths)
    import glob

    kinds = [kind for kind in KINDS.values() if kind.axes == axes]

    def is_file(name: str) -> bool:
        return any(kind.is_file(Path(name)) for kind in kinds)

    matches: dict[Path, None] = {}
    for text in map(str, paths):
        path = Path(text).expanduser()
        names = [path] if path.exists() else sorted(map(Path, glob.glob(str(path), recursive=True)))
        count = len(matches)
        for name in names:
            is_one = not name.is_dir() or (axes == 3 and is_image_folder(name))
            tree = None if is_one else scan(name, is_file, is_image_folder if axes == 3 else None)
            matches |= dict.fromkeys([name] if tree is None else map(Path, tree[0].walk()))
        if len(matches) == count:
            nouns = " or ".join(kind.name for kind in kinds)
            examples = "; or ".join(kind.examples for kind in kinds)
            raise DataError(f"no {nouns} at {text!r}: give {examples}.")
    return list(matches)


def clipped(part: Tensor, sampling: Sampling) -> Tensor:
    """A part whose values are clipped to the window.

    Args:
        part: of any shape.
        sampling: with the window.

    Returns:
        The same shape and type.

    Example:
        >>> clipped(torch.tensor([-5.0, 5.0]), Sampling(window=(0, 1)))
        tensor([0., 1.])
    """
    return part if sampling.window is None else part.clamp(*sampling.window)


def _with_channels(part: Tensor, channels: int) -> Tensor:
    """Gray to color and back, as for images."""
    if len(part) == channels:
        return part
    if part.dtype == torch.uint8:
        pixels = to_tensor(part.flatten(1)[:, None], channels)
        return pixels.reshape(channels, *part.shape[1:])
    if len(part) == 1:
        return part.expand(channels, *part.shape[1:])
    raise DataError(
        f"a sample of {len(part)} channels cannot become one of {channels}: give as many."
    )
