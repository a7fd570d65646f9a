"""Images and recordings in tar files, each read where it lies."""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch

from vitrail.data.dataset import Dataset
from vitrail.data.file_paths import FilePaths
from vitrail.data.file_spans import FileSpan
from vitrail.data.folder_dataset import FolderDataset
from vitrail.data.formats import MAX_BYTES
from vitrail.data.image_file import ImageFile
from vitrail.data.recording_dataset import RecordingDataset
from vitrail.data.recording_inputs import RecordingKind
from vitrail.data.tar_index import TarSample
from vitrail.errors import DataError


class ShardDataset(FolderDataset):
    """Image files in tar files.

    Args:
        files: the tar file of each sample.
        samples: where each sample lies in it.
        targets: class index of each sample.
        labels: class names; empty for unlabelled images, whose targets are all 0.

    Example:
        >>> sample = TarSample("0017.jpg", "cat/1.jpg", 512, 9, "cat")
        >>> dataset = ShardDataset([Path("pets/train-000000.tar")], [sample], [0], ["cat"])
        >>> dataset.name(0), dataset.key(0)
        ('pets/train-000000.tar/0017.jpg', 'cat/1.jpg')
    """

    def __init__(
        self,
        files: list[Path],
        samples: Sequence[TarSample],
        targets: list[int],
        labels: list[str],
    ) -> None:
        super().__init__(files[0].parent, files, targets, labels)
        self.names = [sample.name for sample in samples]
        self.keys = [sample.key for sample in samples]
        self.spans = torch.tensor([(sample.offset, sample.size) for sample in samples])

    def name(self, index: int) -> str:
        """index of a sample → path of its tar file, and in it."""
        return f"{self.files[index]}/{self.names[index]}"

    def key(self, index: int) -> str:
        """index of a sample → what its JSON object calls its file, or its key in the tar file."""
        return self.keys[index]

    def open(self, index: int) -> ImageFile:
        """index of a sample → its image, to be decoded."""
        offset, size = self.spans[index].tolist()
        if size > MAX_BYTES:
            raise DataError(
                f"{self.name(index)}: {size >> 20} MiB is more than the limit of {MAX_BYTES >> 20}."
            )
        try:
            with open(self.files.names[index], "rb") as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as problem:
            raise DataError(f"{self.name(index)}: cannot be read ({problem.strerror}).") from None
        return ImageFile(data, self.channels, self.name(index), self.white)

    def subset(self, indices: Sequence[int]) -> Dataset:
        """indices of samples → a dataset of these."""
        part = copy.copy(self)
        part.files = FilePaths(self.files.names[i] for i in indices)
        part._targets = [self._targets[i] for i in indices]
        part.names, part.keys = [self.names[i] for i in indices], [self.keys[i] for i in indices]
        part.spans = self.spans[list(indices)]
        return self._with_rest(part, indices)


class ShardRecordings(RecordingDataset):
    """Videos, volumes or signals in tar files.

    Args:
        files: the tar file of each sample.
        samples: where each sample lies in it.
        targets: class index of each sample.
        labels: class names; empty for unlabelled recordings, whose targets are all 0.
        kind: videos, volumes or signals.

    Example:
        >>> sample = TarSample("0017.mp4", "walk/1.mp4", 512, 9, "walk")
        >>> shard = Path("clips/train-000000.tar")
        >>> from vitrail.data.recording_inputs import KINDS
        >>> dataset = ShardRecordings([shard], [sample], [0], ["walk"], KINDS["videos"])
        >>> dataset.name(0), dataset.key(0)
        ('clips/train-000000.tar/0017.mp4', 'walk/1.mp4')
    """

    def __init__(
        self,
        files: list[Path],
        samples: Sequence[TarSample],
        targets: list[int],
        labels: list[str],
        kind: RecordingKind,
    ) -> None:
        super().__init__(files[0].parent, files, targets, labels, kind)
        self.files = [
            FileSpan(file, one.name, one.offset, one.size)
            for file, one in zip(files, samples, strict=True)
        ]
        self.keys = [sample.key for sample in samples]

    def key(self, index: int) -> str:
        """index of a sample → what its JSON object calls its file, or its key in the tar file."""
        return self.keys[index]

    def state(self, index: int) -> str:
        """index of a sample → size and time of change of its tar file, and where it lies."""
        try:
            stat = self.files[index].stat()
        except OSError:
            return ""
        return f"{stat.st_size} {stat.st_mtime_ns} {self.files[index]!r}"

    def subset(self, indices: Sequence[int]) -> Dataset:
        """indices of samples → a dataset of these."""
        part = super().subset(indices)
        assert isinstance(part, ShardRecordings)
        part.keys = [self.keys[i] for i in indices]
        return part
