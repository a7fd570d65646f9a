"""Datasets of Hugging Face's `datasets` library, stored or streamed."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.data.dataset import Dataset, epoch_seed
from vitrail.data.folders import split_name
from vitrail.data.image_file import ImageFile
from vitrail.data.images import from_pillow
from vitrail.data.splits import Parts
from vitrail.errors import DataError
from vitrail.values import PositiveInt

LABEL_COLUMNS = ("label", "class", "category", "target")
LABELS_COLUMNS = (*LABEL_COLUMNS, "labels", "classes", "categories", "tags")  # several per image


def open_hub(spec: str) -> Parts:
    """A dataset of the Hugging Face Hub, or of a local folder that its library reads.

    Args:
        spec: NAME or NAME?config=C&streaming.

    Returns:
        Its splits.

    Raises:
        DataError: it cannot be loaded.

    Example:
        >>> open_hub("no/such/dataset")
        Traceback (most recent call last):
        vitrail.errors.DataError: hub:no/such/dataset cannot be loaded: ...
    """
    import datasets

    name, _, query = spec.partition("?")
    options = {k: v[0] for k, v in parse_qs(query, keep_blank_values=True).items()}
    streaming = "streaming" in options
    try:
        splits = datasets.load_dataset(
            name, options.get("config"), streaming=streaming, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as problem:
        reason = (str(problem) or type(problem).__name__).splitlines()[0]
        raise DataError(
            f"hub:{name} cannot be loaded: {reason}. Is its name right, and the net reachable?"
        ) from None
    dataset_type = StreamedDataset if streaming else HubDataset
    parts: dict[str, Callable[[], Dataset]] = {}
    for key in splits:
        split = split_name(key)
        if split is not None:
            parts.setdefault(
                split, functools.partial(dataset_type, splits[key], f"hub:{name}/{key}")
            )
    if not parts:
        raise DataError(
            f"hub:{name} has no splits for training or evaluation: it has {', '.join(splits)}."
        )
    return parts


class _HubColumns:
    """Where a split of the `datasets` library keeps its images and labels.

    Labels are class labels or names; the names of classes that are names are those that occur. A
    list of either is several labels, fractions are numbers.
    """

    def __init__(self, rows: Any, name: str, labels: Sequence[str] | None = None) -> None:
        from datasets import ClassLabel, Image, List

        columns = dict(rows.features or {})
        images = [key for key, feature in columns.items() if isinstance(feature, Image)]
        lists = {k: f.feature for k, f in columns.items() if isinstance(f, List)}
        choices = [key for key, feature in columns.items() if isinstance(feature, ClassLabel)]
        choices += [key for key in columns if _is_label(columns[key], key, LABEL_COLUMNS)]
        choices += [key for key, feature in lists.items() if isinstance(feature, ClassLabel)]
        choices += [
            key for key, feature in lists.items() if _is_label(feature, key, LABELS_COLUMNS)
        ]
        if not images or not choices:
            raise DataError(
                f"{name} has columns {list(columns)}: one of images and one of class labels are "
                f"needed, or one of class names that is called {' or '.join(LABEL_COLUMNS)}."
            )
        self.image = images[0]
        self.label = "label" if "label" in choices else choices[0]
        feature: Any = lists.get(self.label, columns[self.label])
        self.named = not isinstance(feature, ClassLabel)
        self.target: Literal["class", "labels", "numbers"] = "class"
        if self.label in lists:
            self.target = "labels"
        elif self.named and str(feature.dtype).startswith("float"):
            self.target = "numbers"
        if (self.named or self.target != "class") and not hasattr(rows, "select"):
            if self.target == "class":
                raise DataError(
                    f"{name} names the class of each image in {self.label!r}, so that its classes "
                    "are known only when all are read: open it without streaming."
                )
            raise DataError(
                f"{name} has several labels or numbers in {self.label!r}, which are read before "
                "training: open it without streaming."
            )
        if self.target == "numbers":
            self.class_names = [self.label]
        elif not self.named:
            self.class_names = list(feature.names)
        else:
            self.class_names = list(labels or self._names_in(rows[self.label]))

    def _names_in(self, cells: Sequence[Any]) -> list[str]:
        values = cells if self.target == "class" else itertools.chain.from_iterable(cells)
        return sorted({str(value) for value in values}, key=_by_number)

    def target_of(self, value: Any) -> int:
        return self.class_names.index(str(value)) if self.named else value

    def values(self, rows: Any, name: str) -> Tensor | None:
        """Several labels or numbers of all rows, (N, K); None of classes."""
        if self.target == "class":
            return None
        cells = rows[self.label]
        if self.target == "numbers":
            values = torch.tensor([[math.nan if v is None else v] for v in cells])
            if not values.isfinite().all():
                row = int((~values.isfinite()).nonzero()[0, 0])
                raise DataError(f"{name}[{row}] has no number in {self.label!r}: leave it out.")
            return values.float()
        values = torch.zeros(len(rows), len(self.class_names))
        index = {label: number for number, label in enumerate(self.class_names)}
        for row, cell in enumerate(cells):
            for value in cell or ():
                values[row, index[str(value)] if self.named else value] = 1.0
        return values

    def pixels(self, row: dict[str, Any], channels: int, name: str) -> Tensor:
        image = row[self.image]
        if not isinstance(image, dict):
            return from_pillow(image, channels)
        data = image.get("bytes") or Path(image["path"]).read_bytes()
        return ImageFile(data, channels, name).decode()


def _is_label(feature: Any, key: str, names: Sequence[str]) -> bool:
    from datasets import Value

    return isinstance(feature, Value) and key.casefold() in names


def _by_number(name: str) -> tuple[float, str]:
    """Sorts the names of classes: numbers by their value, before all others."""
    return (int(name), name) if name.isdecimal() else (math.inf, name)


def _check_split(rows: Any, kind: str, *, stored: bool) -> None:
    """Raises `DataError` where the rows are no split of the library's."""
    if not hasattr(rows, "cast_column"):
        raise DataError(f"rows is of {type(rows).__name__}: give a {kind}.")
    if not hasattr(rows, "take"):
        raise DataError(
            f"rows is a {type(rows).__name__}: give one of its splits, as rows['train']."
        )
    if hasattr(rows, "select") != stored:
        raise DataError(f"rows is a {type(rows).__name__}, which is no {kind}.")


class HubDataset(Dataset):
    """A split of a dataset of Hugging Face's `datasets` library.

    Args:
        rows: the split, a `datasets.Dataset` with one column of images and one of class labels or
            class names, of lists of these, or of floats.
        name: name of the split for messages.
        labels: names of classes that are names; None for those that occur.

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

    checked_first = False  # it may be large, and the library has checked its files

    @checked
    def __init__(self, rows: Any, name: str, labels: Sequence[str] | None = None) -> None:
        from datasets import Image

        _check_split(rows, "datasets.Dataset", stored=True)

        self._name, self._columns = name, _HubColumns(rows, name, labels)
        self.labels, self.target = self._columns.class_names, self._columns.target
        self.values = self._columns.values(rows, name)
        # As bytes, so that a bad image is reported as everywhere else.
        self.rows = rows.cast_column(self._columns.image, Image(decode=False))

    def __len__(self) -> int:
        return len(self.rows)

    def targets(self) -> list[int]:
        """The target of every row; 0 of several labels and numbers."""
        if self.target != "class":
            return [0] * len(self.rows)
        values = self.rows[self._columns.label]
        if not self._columns.named:
            return list(values)
        index = {label: number for number, label in enumerate(self.labels)}
        if unknown := {str(value) for value in values} - index.keys():
            raise DataError(f"{self._name}: {min(unknown)!r} is none of the labels {self.labels}.")
        return [index[str(value)] for value in values]

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
        part = HubDataset(self.rows.select(indices), self._name, self.labels)
        return self._with_rest(part, indices)


class StreamedDataset(Dataset):
    """A split of the `datasets` library that is read in order, because it is too large to store.

    Its order is that of the library's shuffle buffer, a function of seed and epoch. Resuming skips
    the samples before the position.

    Args:
        rows: the split, a `datasets.IterableDataset` with one column of images and one of labels.
        name: name of the split for messages.
        length: number of rows to use; None for what the dataset says.

    Raises:
        DataError: a column is missing, or the dataset does not say how many rows it has.

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

    @checked
    def __init__(self, rows: Any, name: str, length: PositiveInt | None = None) -> None:
        _check_split(rows, "datasets.IterableDataset", stored=False)
        self.rows, self._name = rows, name
        self._columns = _HubColumns(rows, name)
        self.labels = self._columns.class_names
        card = (rows.info.splits or {}).get(str(rows.split))
        self._length = length or (card.num_examples if card else 0)

    def __len__(self) -> int:
        return self._length

    def take(self, limit: int | None) -> Dataset:
        """limit → a dataset of the first rows, if there are more."""
        lengths = [n for n in (limit, self._length) if n]
        if not lengths:
            raise DataError(f"{self._name} does not say how long it is: set a limit of samples.")
        return StreamedDataset(self.rows, self._name, min(lengths))

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
            yield pixels, self._columns.target_of(row[self._columns.label]), position
