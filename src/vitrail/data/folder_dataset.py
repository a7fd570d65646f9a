"""Image files as a dataset."""

import copy
import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from vitrail.arguments import checked
from vitrail.data.dataset import Dataset, Verdict, neutral_statistics
from vitrail.data.file_paths import FilePaths
from vitrail.data.image_file import ImageFile
from vitrail.data.images import open_image
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

    Raises:
        DataError: files, targets and labels do not fit each other.

    Example:
        >>> from pathlib import Path
        >>> dataset = FolderDataset(Path("pets"), [Path("pets/cat/1.jpg")], [0], ["cat"])
        >>> dataset.key(0)
        'cat/1.jpg'
    """

    white: float | None = None

    @checked
    def __init__(
        self, root: Path, files: Sequence[Path], targets: Sequence[int], labels: Sequence[str]
    ) -> None:
        if len(files) != len(targets):
            raise DataError(
                f"there are {len(files)} files and {len(targets)} targets: give a class index for "
                "each file."
            )
        if targets and not 0 <= min(targets) <= max(targets) < max(len(labels), 1):
            raise DataError(
                f"targets are {min(targets)} to {max(targets)}, and there are {len(labels)} labels."
            )
        self.root, self.files, self._targets = root, FilePaths.of(files), list(targets)
        self.labels = list(labels)
        self._prefix = f"{root}{os.sep}"

    def __len__(self) -> int:
        return len(self.files)

    def targets(self) -> list[int]:
        """The target of every file."""
        return self._targets

    def name(self, index: int) -> str:
        """index of a file → its path."""
        return self.files.names[index]

    def key(self, index: int) -> str:
        """index of a file → its path inside the folder, however the folder was spelled."""
        path = self.name(index)  # a table may name files outside
        return path.removeprefix(self._prefix).replace(os.sep, "/")

    def read(self, index: int) -> Tensor:
        """index of a file → uint8 (C, H, W)."""
        return self.open(index).decode()

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
        files = FilePaths(self.files.names[i] for i in indices)
        targets = [self._targets[i] for i in indices]
        part = copy.copy(self)
        part.files, part._targets = files, targets
        return self._with_rest(part, indices)

    @property
    def location(self) -> str:
        """The folder."""
        return str(self.root.absolute())

    def state(self, index: int) -> str:
        """index of a file → its size, when it changed, and how it is read; "" if there is none."""
        try:
            stat = os.stat(self.name(index))
        except OSError:  # a link to nowhere
            return ""
        return f"{stat.st_size} {stat.st_mtime_ns} {self.channels} {self.white}"

    def examine(self, index: int) -> Verdict:
        """index of a file → why it cannot be read, and what is odd about it."""
        try:
            image = self.open(index)
            image.verify()
        except DataError as error:
            return Verdict(str(error).removeprefix(f"{self.name(index)}: ").rstrip("."))
        return Verdict("", image.remark)

    def why_unreadable(self, index: int) -> str:
        """index of a file → why it cannot be read, or ""."""
        return self.examine(index).reason
