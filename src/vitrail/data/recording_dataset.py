"""Videos, volumes and signals as datasets, and as the input of a model."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.data.dataset import Dataset, FolderDataset, Statistics
from vitrail.data.images import to_tensor
from vitrail.data.recordings import Recording, resample, sample
from vitrail.data.signals import is_signal_file, open_signal
from vitrail.data.videos import is_image_folder, is_video_file, open_video
from vitrail.data.volumes import is_volume_file, open_volume
from vitrail.errors import DataError
from vitrail.preprocess import Preprocess, Sampling, unit

FRAMES = 8  # frames of a video whose model is not known yet
MEASURED = 64  # recordings whose mean and standard deviation are measured


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
    is_file: Callable[[Path], bool]
    is_folder: Callable[[Path], bool] | None
    open: Callable[[Path], Recording]
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


class RecordingDataset(FolderDataset):
    """Files of videos, volumes or signals.

    A sample is (C, *size): uint8 where the files store bytes, 0 black and 255 white, as in videos;
    of all other types float32 in the units of the files, clipped to `sampling.window`. Until
    `for_input` has told the size of a model, volumes and signals are read whole, and 8 frames of
    each video.

    Args:
        root: folder that holds them.
        files: paths inside `root`, of files or of folders of frames or slices.
        targets: class index of each.
        labels: class names.
        kind: videos, volumes or signals.
        sampling: how parts of them are sampled.

    Example:
        >>> import tempfile, numpy
        >>> root = Path(tempfile.mkdtemp())
        >>> numpy.save(root / "a.npy", numpy.arange(12.0))
        >>> dataset = RecordingDataset(root, [root / "a.npy"], [0], ["beat"], KINDS["signals"])
        >>> dataset.read(0).shape, dataset.for_input(Preprocess((4,), None)).read(0).tolist()
        (torch.Size([1, 12]), [[1.0, 4.0, 7.0, 10.0]])
    """

    sampling: Sampling

    def __init__(
        self,
        root: Path,
        files: list[Path],
        targets: list[int],
        labels: list[str],
        kind: RecordingKind,
        sampling: Sampling | None = None,
    ) -> None:
        super().__init__(root, files, targets, labels)
        self.kind, self.sampling = kind, sampling or Sampling()
        self.size: tuple[int, ...] | None = None
        self.seed: int | None = None

    def read(self, index: int) -> Tensor:
        """Reads a part of one recording.

        Args:
            index: its position in the dataset.

        Returns:
            (C, *size); frames of a video have their own height and width.
        """
        recording, sampling = self.kind.open(self.files[index]), self.sampling
        size = self.size
        if size is None:
            extent = recording.shape[1 : 1 + recording.sampled_axes]
            is_video = recording.sampled_axes < self.kind.axes
            size, sampling = ((FRAMES,), Sampling()) if is_video else (extent, Sampling(stride=1))
        generator = None
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed + 0x9E3779B9 * (index + 1))
        return _clipped(sample(recording, size, sampling, generator), self.sampling)

    def for_input(self, preprocess: Preprocess) -> Dataset:
        """The same recordings, sampled for the input of a model."""
        copied = copy.copy(self)
        copied.size, copied.sampling = preprocess.size, preprocess.sampling
        return copied

    def with_seed(self, seed: int) -> Dataset:
        """The same recordings, sampled at random."""
        copied = copy.copy(self)
        copied.seed = seed
        return copied

    def subset(self, indices: Sequence[int]) -> Dataset:
        """indices of recordings → a dataset of these."""
        part = copy.copy(self)
        part.files = [self.files[i] for i in indices]
        part._targets = [self._targets[i] for i in indices]
        return self._with_rest(part, indices)

    def why_unreadable(self, index: int) -> str:
        """index of a recording → why it cannot be read, or ""."""
        return Dataset.why_unreadable(self, index)


def measure(dataset: Dataset) -> Statistics:
    """Mean and standard deviation per channel over some recordings, evenly taken.

    Args:
        dataset: the recordings.

    Returns:
        On 0..1 for bytes, in the units of the files for other values.

    Raises:
        DataError: a recording cannot be read, or has another number of channels.

    Example:
        >>> from vitrail.data.dataset import InMemoryDataset
        >>> halves = torch.full((2, 1, 4), 51, dtype=torch.uint8)
        >>> mean, std = measure(InMemoryDataset(halves, torch.zeros(2), ["a"]))
        >>> round(mean[0], 3), std
        (0.2, (0.001,))
    """
    step = max(len(dataset) // MEASURED, 1)
    count, total, squares = 0, torch.zeros(0), torch.zeros(0)
    for index in range(0, len(dataset), step):
        values = unit(dataset.read(index)).double().flatten(1)
        if count and len(values) != len(total):
            raise DataError(
                f"{dataset.name(index)}: has {len(values)} channels, and {dataset.name(0)} "
                f"{len(total)}: all must have as many."
            )
        total = values.sum(1) + (total if count else 0)
        squares = values.square().sum(1) + (squares if count else 0)
        count += values.shape[1]
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=1e-6).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())


def fit(source: Any, preprocess: Preprocess) -> Tensor:
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
        >>> fit(torch.zeros(1, 20), Preprocess((8,), None, mean=(0.0,), std=(1.0,))).shape
        torch.Size([1, 8])
    """
    size, channels = preprocess.size, preprocess.channels
    if isinstance(source, str | Path):
        recording = open_recording(Path(source), preprocess)
        source = _clipped(sample(recording, size, preprocess.sampling), preprocess.sampling)
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
    constants = (0.0,) * len(planes)
    flat = dataclasses.replace(preprocess, size=size[1:], mean=constants, std=constants)
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


def _clipped(part: Tensor, sampling: Sampling) -> Tensor:
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
