"""Datasets of Hugging Face's `datasets` library, stored or streamed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vitrail.data.dataset import Dataset, epoch_seed
from vitrail.data.images import decode, from_pillow
from vitrail.errors import DataError


class _HubColumns:
    """Where a split of the `datasets` library keeps its images and labels."""

    def __init__(self, features: Any, name: str) -> None:
        from datasets import ClassLabel, Image

        columns = dict(features or {})
        images = [key for key, feature in columns.items() if isinstance(feature, Image)]
        labels = [key for key, feature in columns.items() if isinstance(feature, ClassLabel)]
        if not images or not labels:
            raise DataError(
                f"{name} has columns {list(columns)}: one image and one class-label column are "
                "needed."
            )
        self.image = images[0]
        self.label = "label" if "label" in labels else labels[0]
        self.class_names = list(columns[self.label].names)

    def pixels(self, row: dict[str, Any], channels: int, name: str) -> Tensor:
        image = row[self.image]
        if not isinstance(image, dict):
            return from_pillow(image, channels)
        data = image.get("bytes") or Path(image["path"]).read_bytes()
        return decode(data, channels, name)


class HubDataset(Dataset):
    """A split of a dataset of Hugging Face's `datasets` library.

    Args:
        rows: the split, a `datasets.Dataset` with one column of images and one of class labels.
        name: name of the split for messages.

    Raises:
        DataError: a column is missing.

    Example:
        >>> import datasets, PIL.Image
        >>> columns = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat"])}
        >>> rows = {"image": [PIL.Image.new("RGB", (4, 3))], "label": [0]}
        >>> split = datasets.Dataset.from_dict(rows, datasets.Features(columns))
        >>> HubDataset(split, "pets/train").read(0).shape
        torch.Size([3, 3, 4])
    """

    def __init__(self, rows: Any, name: str) -> None:
        from datasets import Image

        self._name, self._columns = name, _HubColumns(rows.features, name)
        self.labels = self._columns.class_names
        # As bytes, so that a bad image is reported as everywhere else.
        self.rows = rows.cast_column(self._columns.image, Image(decode=False))

    def __len__(self) -> int:
        return len(self.rows)

    def targets(self) -> list[int]:
        """The target of every row."""
        return list(self.rows[self._columns.label])

    def name(self, index: int) -> str:
        """index of a row → a name such as "hub:beans/train[17]"."""
        return f"{self._name}[{index}]"

    def key(self, index: int) -> str:
        """index of a row → the index, because the dataset may lie in a folder that moves."""
        return f"{index:08}"

    def read(self, index: int) -> Tensor:
        """index of a row → uint8 (3, H, W)."""
        return self._columns.pixels(self.rows[index], self.channels, self.name(index))

    def subset(self, indices: Sequence[int]) -> Dataset:
        """indices of rows → a dataset of these."""
        return self._with_rest(HubDataset(self.rows.select(indices), self._name), indices)


class StreamedDataset(Dataset):
    """A split of the `datasets` library that is read in order, because it is too large to store.

    Its order is that of the library's shuffle buffer, a function of seed and epoch. Resuming skips
    the samples before the position.

    Args:
        rows: the split, a `datasets.IterableDataset` with one column of images and one of labels.
        name: name of the split for messages.
        length: number of rows to use.

    Raises:
        DataError: a column is missing.

    Example:
        >>> import datasets, PIL.Image
        >>> columns = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat"])}
        >>> rows = {"image": [PIL.Image.new("RGB", (4, 3))] * 3, "label": [0] * 3}
        >>> split = datasets.Dataset.from_dict(rows, datasets.Features(columns))
        >>> stream = StreamedDataset(split.to_iterable_dataset(), "pets/train", 3)
        >>> [position for _, _, position in stream.samples(None, 0, 1)]
        [1, 2]
    """

    BUFFER = 1000
    streamed = True

    def __init__(self, rows: Any, name: str, length: int) -> None:
        self.rows, self._name, self._length = rows, name, length
        self._columns = _HubColumns(rows.features, name)
        self.labels = self._columns.class_names

    def __len__(self) -> int:
        return self._length

    def name(self, index: int) -> str:
        """position in the epoch → a name such as "hub:beans/train[17]"."""
        return f"{self._name}[{index}]"

    def samples(
        self, seed: int | None, epoch: int, start: int
    ) -> Iterator[tuple[Tensor, int, int]]:
        """seed, epoch, start → (uint8 (3, H, W), target, position) from `start` on."""
        rows = self.rows
        if seed is not None:
            rows = rows.shuffle(seed=epoch_seed(seed, epoch), buffer_size=self.BUFFER)
        for position, row in enumerate(rows.skip(start).take(self._length - start), start):
            pixels = self._columns.pixels(row, self.channels, self.name(position))
            yield pixels, row[self._columns.label], position
