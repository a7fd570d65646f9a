"""Datasets of Python objects: pairs of an image and a label, and what other libraries make."""

import copy
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.data.dataset import Dataset
from vitrail.data.folders import split_name
from vitrail.data.hub_datasets import HubDataset
from vitrail.data.images import to_tensor
from vitrail.data.manifest_labels import sorted_names
from vitrail.data.registry import DATASETS, KINDS, PACKAGED, Split, open_parts, prepared
from vitrail.data.splits import Parts, Progress, open_part
from vitrail.errors import DataError

MEMORY = "memory"  # what a dataset of Python objects is called
ACCEPTED = (
    "give a name such as 'folder:PHOTOS', a list of (image, label) with paths, Pillow images or "
    "uint8 tensors, a torch Dataset of such pairs, a datasets.Dataset, or (train, test) or (train, "
    "val, test) of these"
)


class Samples(Protocol):
    """Samples by position, such as a list or a map-style dataset of PyTorch.

    Example:
        >>> len([("cat.jpg", "cat")])
        1
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


DataSource = str | Path | Dataset | Samples | Mapping[str, object]


class PairDataset(Dataset):
    """Images with labels, as a list or a map-style dataset of PyTorch holds them.

    Args:
        pairs: (image, label) by position. An image is a path, a Pillow image or a uint8 tensor
            (C, H, W); a label is a class name or an index, a list of names where an image has any
            number of labels, or a number with a fraction. `pairs.classes` and `pairs.targets`, as
            torchvision's datasets have them, are used where they exist.
        labels: class names; None for `pairs.classes`, or the names that occur, sorted.
        name: name of the dataset for messages.

    Raises:
        DataError: a sample is no such pair, or its label is no class.

    Example:
        >>> black = torch.zeros(3, 5, 4, dtype=torch.uint8)
        >>> dataset = PairDataset([(black, "cat"), (black, "dog"), (black, "cat")])
        >>> dataset.labels, dataset.targets(), dataset.read(0).shape
        (['cat', 'dog'], [0, 1, 0], torch.Size([3, 5, 4]))
    """

    @checked
    def __init__(self, pairs: Any, labels: Sequence[str] | None = None, name: str = MEMORY) -> None:
        _check_samples(pairs)
        self.pairs, self._name = pairs, name
        names = getattr(pairs, "classes", None) if labels is None else labels
        truth = _labels_of(pairs)
        if all(isinstance(label, list | tuple | set | frozenset) for label in truth):
            self.target, self._targets = "labels", [0] * len(truth)
            self.labels, self.values = _several(truth, names, name)
        elif any(isinstance(label, float) and label % 1 for label in truth):
            self.target, self._targets = "numbers", [0] * len(truth)
            self.labels, self.values = list(names or ["value"]), _numbers(truth, name)
        else:
            self.labels, self._targets = _classes(truth, names, name)
        image, _label = _pair(pairs, 0)
        if _channels(image) == 1:
            self.statistics = ((0.5,), (0.5,))

    def __len__(self) -> int:
        return len(self.pairs)

    def targets(self) -> list[int]:
        """The target of every pair."""
        return self._targets

    def name(self, index: int) -> str:
        """index of a pair → its path, or a name such as "memory[17]"."""
        image, _label = self.pairs[index]
        return str(image) if isinstance(image, str | Path) else f"{self._name}[{index}]"

    def key(self, index: int) -> str:
        """index of a pair → the index, because images in memory have no other name."""
        return f"{index:08}"

    def read(self, index: int) -> Tensor:
        """index of a pair → uint8 (C, H, W)."""
        image, _label = self.pairs[index]
        if isinstance(image, str | Path):
            return to_tensor(image, self.channels)
        try:
            return to_tensor(image, self.channels)
        except DataError as problem:
            raise DataError(f"{self.name(index)}: {problem}") from None
        except AttributeError:
            raise DataError(
                f"{self.name(index)}: {type(image).__name__} is no image: give a path, a Pillow "
                "image or a uint8 tensor (channels, height, width)."
            ) from None

    def subset(self, indices: Sequence[int]) -> Dataset:
        """indices of pairs → a dataset of these."""
        part = copy.copy(self)
        part.pairs, part._targets = (
            _Selection(self.pairs, indices), [self._targets[i] for i in indices],
        )  # fmt: skip
        return self._with_rest(part, indices)


class _Selection:
    """Some of the samples of a map-style dataset, which are read when they are needed."""

    def __init__(self, samples: Any, indices: Sequence[int]) -> None:
        self.samples, self.indices = samples, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.samples[self.indices[index]]


def as_dataset(samples: Any) -> Dataset:
    """The dataset of Python objects.

    Args:
        samples: a dataset of Vitrail, a `datasets.Dataset`, or what `PairDataset` takes.

    Returns:
        The dataset.

    Raises:
        DataError: it is nothing of the kind, or empty.

    Example:
        >>> as_dataset([])
        Traceback (most recent call last):
        vitrail.errors.DataError: data is empty: give a name such as 'folder:PHOTOS', ...
    """
    if hasattr(samples, "read_batch"):  # a dataset of Vitrail
        return samples
    _check_samples(samples)
    return HubDataset(samples, MEMORY) if hasattr(samples, "cast_column") else PairDataset(samples)


def _check_samples(samples: Any) -> None:
    """Raises `DataError` where there are no samples by position."""
    if hasattr(samples, "dataset") and hasattr(samples, "batch_size"):  # torch's DataLoader
        raise DataError(
            f"data is of {type(samples).__name__}, which makes batches: give its .dataset."
        )
    by_name = isinstance(samples, str | bytes | type | Mapping) or hasattr(samples, "iloc")
    if by_name or not hasattr(samples, "__getitem__") or not hasattr(samples, "__len__"):
        table = (
            ": write it as a table, and give 'table:FILE.csv'; or"
            if hasattr(samples, "iloc")
            else ":"
        )
        raise DataError(f"data is of {type(samples).__name__}{table} {ACCEPTED}.")
    if not len(samples):
        raise DataError(f"data is empty: {ACCEPTED}.")


def as_parts(data: DataSource) -> Parts:
    """The splits of a dataset by name, or of Python objects.

    Args:
        data: what `open_dataset` names; the path of a folder; (train, test) or (train, val, test);
            a mapping with such keys, such as a `datasets.DatasetDict`; or samples, which are
            "train". Objects are what `as_dataset` takes.

    Returns:
        Functions that return datasets, by "train", "val" and "test".

    Raises:
        DataError: it is nothing of the kind.

    Example:
        >>> pairs = [(torch.zeros(3, 5, 4, dtype=torch.uint8), name) for name in ("cat", "dog")]
        >>> list(as_parts((pairs * 5, pairs)))
        ['train', 'test']
    """
    if isinstance(data, str | Path):
        return open_parts(data)
    if isinstance(data, Mapping):
        named = {split: data[key] for key in data if (split := split_name(str(key)))}
        if not named:
            raise DataError(f"data has {', '.join(map(str, data)) or 'no keys'}, no 'train'.")
    elif isinstance(data, tuple):
        if len(data) not in (2, 3):
            raise DataError(f"data is a tuple of {len(data)}: {ACCEPTED}.")
        named = dict(zip(("train", "val", "test") if len(data) == 3 else ("train", "test"), data,
                         strict=True))  # fmt: skip
    else:
        named = {"train": data}
    datasets = {split: as_dataset(samples) for split, samples in named.items()}
    return {split: functools.partial(_same, dataset) for split, dataset in datasets.items()}


def open_split(
    data: DataSource,
    split: Split | None = None,
    *,
    bad_images: Literal["raise", "skip"] = "raise",
    limit: int | None = None,
    progress: Progress | None = None,
) -> tuple[str, Dataset]:
    """Opens a split of a dataset by name, or of Python objects.

    Args:
        data: as `as_parts` takes it.
        split: "train", "val" or "test"; "all" for all samples; None for "test" if there is one,
            "val" if not, and otherwise "all".
        bad_images: "raise" for an error that names unreadable ones, "skip" to leave them out.
        limit: number of samples, evenly over the classes; None for all.
        progress: called with (done, total) while files are checked.

    Returns:
        The name of the split, and its samples.

    Raises:
        DataError: something is missing or unreadable, or there is no such split.

    Example:
        >>> pairs = [(torch.zeros(3, 5, 4, dtype=torch.uint8), name) for name in ("cat", "dog")]
        >>> split, samples = open_split(pairs)
        >>> split, len(samples)
        ('all', 2)
    """
    name = str(data) if isinstance(data, str | Path) else MEMORY
    opened_split, dataset = open_part(as_parts(data), split, name)
    return opened_split, prepared(dataset, bad_images=bad_images, limit=limit, progress=progress)


def _same(dataset: Dataset) -> Dataset:
    return dataset


def names_dataset(text: str) -> bool:
    """Whether a text is the name of a dataset, not a path.

    Args:
        text: any text.

    Returns:
        Whether `open_dataset` takes it.

    Example:
        >>> names_dataset("digits"), names_dataset("hub:beans"), names_dataset("cat.jpg")
        (True, True, False)
    """
    kind, colon, _path = text.partition(":")
    return text in PACKAGED or kind in DATASETS.names_of_others() or (kind in KINDS and colon != "")


def _pair(samples: Any, index: int) -> tuple[Any, Any]:
    sample = samples[index]
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        raise DataError(f"data holds {type(sample).__name__} at {index}: {ACCEPTED}.")
    return sample[0], sample[1]


def _labels_of(samples: Any) -> list[Any]:
    targets = getattr(samples, "targets", None)
    if targets is None or callable(targets):
        targets = [_pair(samples, index)[1] for index in range(len(samples))]
    return targets.tolist() if isinstance(targets, Tensor) else list(targets)


def _classes(
    values: list[Any], labels: Sequence[str] | None, name: str
) -> tuple[list[str], list[int]]:
    """Class names, and the class index of each sample."""
    if all(isinstance(value, str) for value in values):
        labels = sorted(set(values)) if labels is None else list(labels)
        unknown = sorted(set(values) - set(labels))
        if unknown:
            raise DataError(f"{name}: the label {unknown[0]!r} is none of {', '.join(labels)}.")
        index = {label: number for number, label in enumerate(labels)}
        return labels, [index[value] for value in values]
    try:
        indices = [int(value) for value in values]
    except (TypeError, ValueError):
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise DataError(
            f"{name}: labels are of {kinds}: give class names, or indices of classes."
        ) from None
    labels = [str(i) for i in range(max(indices) + 1)] if labels is None else list(labels)
    if not 0 <= min(indices) <= max(indices) < len(labels):
        raise DataError(
            f"{name}: labels are {min(indices)} to {max(indices)}, and {len(labels)} classes have "
            f"0 to {len(labels) - 1}."
        )
    return labels, indices


def _several(rows: list[Any], labels: Sequence[str] | None, name: str) -> tuple[list[str], Tensor]:
    """Names of labels, and whether each sample has each, float (N, labels)."""
    names = {label for row in rows for label in row}
    if odd := [label for label in names if not isinstance(label, str)]:
        raise DataError(f"{name}: {odd[0]!r} is no label: give a list of names for each image.")
    labels = sorted_names(names) if labels is None else list(labels)
    if unknown := sorted(names - set(labels)):
        raise DataError(f"{name}: the label {unknown[0]!r} is none of {', '.join(labels)}.")
    return labels, torch.tensor([[float(label in row) for label in labels] for row in rows])


def _numbers(truth: list[Any], name: str) -> Tensor:
    """The number of each sample, float (N, 1)."""
    try:
        values = torch.tensor([[float(value)] for value in truth])
    except (OverflowError, TypeError, ValueError):
        raise DataError(f"{name}: some labels are numbers and some are not.") from None
    if not values.isfinite().all():
        raise DataError(f"{name}: a number is not finite: leave such samples out.")
    return values


def _channels(image: Any) -> int:
    if isinstance(image, Tensor):
        return 1 if image.ndim == 3 and image.shape[0] == 1 else 3
    return 1 if getattr(image, "mode", "RGB") in ("1", "L") else 3
