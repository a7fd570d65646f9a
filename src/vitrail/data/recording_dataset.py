"""Videos, volumes and signals as datasets."""

import copy
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vitrail.data.dataset import Dataset, Statistics, Verdict
from vitrail.data.file_spans import Source
from vitrail.data.folder_dataset import FolderDataset
from vitrail.data.folders import FolderLayout, find_layout
from vitrail.data.recording_inputs import KINDS, RecordingKind, clipped, find_inputs
from vitrail.data.recordings import sample
from vitrail.errors import DataError
from vitrail.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, Sampling, unit

FRAMES = 8  # frames of a video whose model is not known yet
MEASURED = 64  # recordings whose mean and standard deviation are measured


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
    files: list[Source]  # type: ignore[assignment]  # parts of files, too

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
        self.recordings = kind.name
        self.size: tuple[int, ...] | None = None
        self.seed: int | None = None

    @functools.cached_property
    def statistics(self) -> Statistics:  # type: ignore[override]
        """ImageNet's for videos; those of volumes and signals are measured on some of them."""
        if self.kind.name == "videos":
            return IMAGENET_MEAN, IMAGENET_STD
        return measure(self)

    @property
    def channels(self) -> int:
        """The number of channels of a sample."""
        return self.kind.open(self.files[0]).shape[0]

    def name(self, index: int) -> str:
        """index of a recording → its path."""
        return str(self.files[index])

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
        return clipped(sample(recording, size, sampling, generator), self.sampling)

    def file(self, index: int) -> Source:
        """index of a recording → its file, or folder of frames or slices."""
        return self.files[index]

    def with_pixels(self, channels: int | None, white: float | None) -> Dataset:
        """The same: these are of image files."""
        del channels, white
        return self

    def for_input(self, preprocess: Preprocess) -> Dataset:
        """The same recordings, sampled for the input of a model."""
        copied = copy.copy(self)
        copied.size, copied.sampling = preprocess.size, preprocess.sampling
        copied.__dict__.pop("statistics", None)
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

    @property
    def location(self) -> str:
        """Where verdicts on files are kept: by kind, for the same file may be read as another."""
        return f"{self.kind.name}:{super().location}"

    def examine(self, index: int) -> Verdict:
        """index of a recording → why it cannot be read; a part of it is decoded."""
        return Dataset.examine(self, index)

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
        >>> from vitrail.data.in_memory import InMemoryDataset
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


def open_recordings(kind: str, path: str) -> dict[str, Callable[[], Dataset]]:
    """Videos, volumes or signals in a subfolder per class, or in folders of splits with such.

    Args:
        kind: "videos", "volumes" or "signals".
        path: the folder. Without class folders, what lies in it has no labels.

    Returns:
        What opens each split; without folders of splits, "train".

    Raises:
        DataError: there is no such folder, or nothing of this kind in it.

    Example:
        >>> open_recordings("signals", "nowhere")
        Traceback (most recent call last):
        vitrail.errors.DataError: no folder 'nowhere': give one with a subfolder of .csv, .npy ...
    """
    one, root = KINDS[kind], Path(path).expanduser()
    if not root.is_dir():
        raise DataError(
            f"no folder {str(root)!r}: give one with a subfolder of {one.examples} for each class."
        )
    layout = find_layout(root, one.is_file, one.is_folder)
    if layout.splits.get("all") == {}:
        layout.splits["all"][""] = find_inputs([root], Preprocess((1,) * one.axes, None))
    return {
        "train" if split == "all" else split: functools.partial(_open, one, layout, split)
        for split in layout.splits
    }


def _open(kind: RecordingKind, layout: FolderLayout, split: str) -> Dataset:
    classes = layout.splits[split]
    if not classes:
        raise DataError(
            f"{layout.folders[split]} holds no class folders with {kind.name}: make one for each."
        )
    files = [file for paths in classes.values() for file in paths]
    targets = [target for target, paths in enumerate(classes.values()) for _ in paths]
    root = layout.folders.get(split, layout.root)
    return RecordingDataset(root, files, targets, [name for name in classes if name], kind)
