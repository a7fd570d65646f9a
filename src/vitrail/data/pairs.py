"""Datasets of Python objects: pairs of an image and a label, and what other libraries make."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.data.hub_datasets import HubDataset
from vitrail.data.images import to_tensor
from vitrail.data.registry import DATASETS, KINDS, PACKAGED, TEST_FRACTION, open_dataset
from vitrail.data.splits import Progress, balanced, drop_unreadable, split_off
from vitrail.errors import DataError

MEMORY = "memory"  # what a dataset of Python objects is called
ACCEPTED = (
    "give a name such as 'folder:PHOTOS', a list of (image, label) with paths, Pillow images or "
    "uint8 tensors, a torch Dataset of such pairs, a datasets.Dataset, or (train, test) of these"
)
TESTS = ("test", "validation", "val")


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
            (C, H, W); a label is a class name, or an index. `pairs.classes` and
            `pairs.targets`, as torchvision's datasets have them, are used where they exist.
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

    def __init__(self, pairs: Any, labels: Sequence[str] | None = None, name: str = MEMORY) -> None:
        self.pairs, self._name = pairs, name
        names = getattr(pairs, "classes", None) if labels is None else labels
        self.labels, self._targets = _classes(_labels_of(pairs), names, name)
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
        targets = [self._targets[i] for i in indices]
        part = PairDataset(_Selection(self.pairs, indices, targets), self.labels, self._name)
        part.statistics = self.statistics
        return self._with_rest(part, indices)


class _Selection:
    """Some of the samples of a map-style dataset, which are read when they are needed."""

    def __init__(self, samples: Any, indices: Sequence[int], targets: list[int]) -> None:
        self.samples, self.indices, self.targets = samples, indices, targets

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
    if not hasattr(samples, "__getitem__") or not hasattr(samples, "__len__"):
        raise DataError(f"data is of {type(samples).__name__}: {ACCEPTED}.")
    if not len(samples):
        raise DataError(f"data is empty: {ACCEPTED}.")
    return HubDataset(samples, MEMORY) if hasattr(samples, "cast_column") else PairDataset(samples)


def as_splits(data: DataSource) -> tuple[Dataset, Dataset]:
    """Training and test samples of Python objects.

    Args:
        data: (train, test); a mapping of "train" and "test" or "validation", such as a
            `datasets.DatasetDict`; or samples of which a fifth of each class is held out. Each is
            what `as_dataset` takes.

    Returns:
        Training and test samples.

    Raises:
        DataError: they are nothing of the kind.

    Example:
        >>> pairs = [(torch.zeros(3, 5, 4, dtype=torch.uint8), name) for name in ("cat", "dog")]
        >>> train, test = as_splits(pairs * 5)
        >>> len(train), len(test)
        (8, 2)
    """
    train, test = _parts(data)
    return split_off(train, TEST_FRACTION) if test is None else (train, test)


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


def open_split(
    data: DataSource,
    split: Literal["train", "test"],
    *,
    bad_images: Literal["raise", "skip"] = "raise",
    limit: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """A split of a dataset by name, or of Python objects.

    Args:
        data: what `open_dataset` names, a folder's path, or what `as_splits` takes. Objects without
            a test split are all of them either split.
        split: "train" or "test".
        bad_images: "raise" for an error that names them, "skip" to leave them out.
        limit: number of samples, evenly over the classes; None for all.
        progress: called with (done, total) while files are checked.

    Returns:
        The samples.

    Raises:
        DataError: something is missing or unreadable.

    Example:
        >>> pairs = [(torch.zeros(3, 5, 4, dtype=torch.uint8), name) for name in ("cat", "dog")]
        >>> len(open_split(pairs, "test"))
        2
    """
    if isinstance(data, Path):
        data = f"folder:{data}"
    if isinstance(data, str):
        return open_dataset(data, split, bad_images=bad_images, limit=limit, progress=progress)
    train, test = _parts(data)
    dataset = train if split == "train" or test is None else test
    dataset = without_unreadable(dataset, bad_images, progress)
    return dataset if limit is None or dataset.streamed else balanced(dataset, limit)


def without_unreadable(
    dataset: Dataset, bad_images: Literal["raise", "skip"], progress: Progress | None = None
) -> Dataset:
    """A dataset of which every image can be read. Those in memory and streamed are not checked.

    Args:
        dataset: the samples.
        bad_images: "raise" for an error that names unreadable ones, "skip" to leave them out.
        progress: called with (done, total).

    Returns:
        The samples that can be read.

    Raises:
        DataError: there are unreadable ones.

    Example:
        >>> dataset = PairDataset([("nowhere.jpg", "cat"), ("nowhere.png", "dog")])
        >>> without_unreadable(dataset, "raise")
        Traceback (most recent call last):
        vitrail.errors.DataError: 2 of 2 images cannot be read: nowhere.jpg (...
    """
    if dataset.streamed or dataset.fixed_size:
        return dataset
    return drop_unreadable(dataset, bad_images, progress)


def _parts(data: Any) -> tuple[Dataset, Dataset | None]:
    """Training samples, and test samples where there are any."""
    if isinstance(data, Mapping):
        if "train" not in data:
            raise DataError(f"data has {', '.join(map(str, data)) or 'no keys'}, no 'train'.")
        test = next((data[name] for name in TESTS if name in data), None)
        return as_dataset(data["train"]), None if test is None else as_dataset(test)
    if isinstance(data, tuple):
        if len(data) != 2:
            raise DataError(f"data is a tuple of {len(data)}: {ACCEPTED}.")
        return as_dataset(data[0]), as_dataset(data[1])
    return as_dataset(data), None


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


def _channels(image: Any) -> int:
    if isinstance(image, Tensor):
        return 1 if image.ndim == 3 and image.shape[0] == 1 else 3
    return 1 if getattr(image, "mode", "RGB") in ("1", "L") else 3
