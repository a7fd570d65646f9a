"""Image files as a dataset."""

import copy
import functools
import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from vitrail.data.dataset import Dataset, neutral_statistics
from vitrail.data.image_file import ImageFile
from vitrail.data.images import open_image, read_image
from vitrail.errors import DataError
from vitrail.preprocess import Preprocess


class FolderDataset(Dataset):
    """Image files.

    Args:
        root: folder that holds them.
        files: paths inside `root`.
        targets: class index of each file.
        labels: class names; empty for unlabelled images, whose targets are all 0.

    Attributes:
        white: value of white in images of more than 8 bits; None for the largest value.

    Example:
        >>> from pathlib import Path
        >>> dataset = FolderDataset(Path("pets"), [Path("pets/cat/1.jpg")], [0], ["cat"])
        >>> dataset.key(0)
        'cat/1.jpg'
    """

    white: float | None = None

    def __init__(
        self, root: Path, files: list[Path], targets: list[int], labels: list[str]
    ) -> None:
        self.root, self.files, self._targets, self.labels = root, files, targets, labels

    def __len__(self) -> int:
        return len(self.files)

    def targets(self) -> list[int]:
        """The target of every file."""
        return self._targets

    def name(self, index: int) -> str:
        """index of a file → its path."""
        return str(self.files[index])

    def key(self, index: int) -> str:
        """index of a file → its path inside the folder, however the folder was spelled."""
        path = str(self.files[index])  # a table may name files outside
        return path.removeprefix(f"{self.root}{os.sep}").replace(os.sep, "/")

    def read(self, index: int) -> Tensor:
        """index of a file → uint8 (C, H, W)."""
        return read_image(self.files[index], self.channels, self.white)

    def open(self, index: int) -> ImageFile:
        """index of a file → the file, to be decoded."""
        return open_image(self.files[index], self.channels, self.white)

    def with_pixels(self, channels: int | None, white: float | None) -> Dataset:
        """channels, white → the same files, read with these."""
        copied = copy.copy(self)
        copied.white = white
        if channels is not None and channels != self.channels:
            copied.statistics = neutral_statistics(channels)
        return copied

    def for_input(self, preprocess: Preprocess) -> Dataset:
        """preprocess → the same files, read with its channels and its white."""
        return self.with_pixels(preprocess.channels, preprocess.white)

    def subset(self, indices: Sequence[int]) -> Dataset:
        """indices of files → a dataset of these."""
        files, targets = [self.files[i] for i in indices], [self._targets[i] for i in indices]
        part = copy.copy(self)
        part.files, part._targets = files, targets
        return self._with_rest(part, indices)

    def why_unreadable(self, index: int) -> str:
        """index of a file → why it cannot be read, or ""; cached while the file stays the same."""
        try:
            stat = self.files[index].stat()
        except OSError as error:  # a link to nowhere
            return error.strerror or type(error).__name__
        return _why_unreadable(self.files[index], stat.st_mtime_ns, stat.st_size)


@functools.cache
def _why_unreadable(path: Path, modified: int, size: int) -> str:
    """Why a file cannot be decoded. Both splits of a folder ask for all of its files."""
    del modified, size  # they only distinguish one state of the file from another
    try:
        read_image(path)
    except DataError as error:
        return str(error).removeprefix(f"{path}: ").rstrip(".")
    return ""
