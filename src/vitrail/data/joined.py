"""Several datasets as one, whose classes go by their names."""

import bisect
import copy
import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.data.dataset import Dataset, Verdict
from vitrail.data.image_file import ImageFile
from vitrail.errors import DataError
from vitrail.preprocess import Preprocess
from vitrail.values import repeated


class JoinedDataset(Dataset):
    """Datasets one after the other, with one list of classes.

    Args:
        parts: datasets that are not streamed, by a name that tells their samples apart.
        labels: class names; None for all that occur, in the order in which they do. The classes of
            the parts are matched with them by name.

    Raises:
        DataError: a part has samples of a class that is not among `labels`.

    Example:
        >>> from vitrail.data.in_memory import InMemoryDataset
        >>> one = InMemoryDataset(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]),
        ...                       ["cat", "dog"])
        >>> joined = JoinedDataset({"train": one, "test": one.subset([1])}, ["dog", "cat", "fox"])
        >>> joined.targets(), joined.key(2)
        ([1, 0, 0], 'test/memory[0]')
    """

    @checked
    def __init__(self, parts: Mapping[str, Dataset], labels: Sequence[str] | None = None) -> None:
        if not parts:
            raise DataError("parts is empty: give a dataset at least.")
        datasets = list(parts.values())
        names = dict.fromkeys(itertools.chain.from_iterable(d.labels for d in datasets))
        self.parts, self.labels = parts, [*names] if labels is None else list(labels)
        self._ends = list(itertools.accumulate(map(len, datasets)))
        self._rows: Sequence[int] = range(
            self._ends[-1]
        )  # positions among all samples of the parts
        self.target = datasets[0].target
        if any(d.target != self.target for d in datasets):
            raise DataError("some parts have one class per sample, and others do not.")
        if self.target != "class":
            self.values = torch.cat([values_among(d, self.labels) for d in datasets])
        if any(d.weights is not None for d in datasets):
            self.weights = torch.cat(
                [torch.ones(len(d)) if d.weights is None else d.weights for d in datasets]
            )
        self._targets = [t for d in datasets for t in targets_among(d, self.labels)]
        self.statistics, self.inventory = datasets[0].statistics, datasets[0].inventory
        self.sampling = datasets[0].sampling
        self.fixed_size = all(d.fixed_size for d in datasets)
        self.checked_first = any(d.checked_first for d in datasets)
        self.bad_images = [bad for d in datasets for bad in d.bad_images]
        self.damage = [bad for d in datasets for bad in d.damage]
        if all(d.captions for d in datasets):
            self.captions = [caption for d in datasets for caption in d.captions]

    def __len__(self) -> int:
        return len(self._rows)

    def targets(self) -> list[int]:
        """The target of every sample, an index into `labels`."""
        return [self._targets[row] for row in self._rows]

    def name(self, index: int) -> str:
        """index of a sample → its name in the dataset that it comes from."""
        _part, dataset, position = self._find(index)
        return dataset.name(position)

    def key(self, index: int) -> str:
        """index of a sample → the name of its part and its key there."""
        part, dataset, position = self._find(index)
        return f"{part}/{dataset.key(position)}" if len(self.parts) > 1 else dataset.key(position)

    def read(self, index: int) -> Tensor:
        """index of a sample → uint8 (C, *size)."""
        _part, dataset, position = self._find(index)
        return dataset.read(position)

    def read_batch(self, indices: Tensor) -> Tensor:
        """indices (B,) → uint8 (B, C, *size)."""
        if len(self.parts) > 1:
            return super().read_batch(indices)
        rows = torch.tensor([self._rows[index] for index in indices.tolist()], dtype=torch.long)
        return next(iter(self.parts.values())).read_batch(rows)

    @property
    def location(self) -> str:
        """Where the samples of all parts are stored."""
        return "\n".join(sorted({dataset.location for dataset in self.parts.values()}))

    def state(self, index: int) -> str:
        """index of a sample → what changes when its content does."""
        _part, dataset, position = self._find(index)
        return dataset.state(position)

    def examine(self, index: int) -> Verdict:
        """index of a sample → why it cannot be read, and what is odd about it."""
        _part, dataset, position = self._find(index)
        return dataset.examine(position)

    def why_unreadable(self, index: int) -> str:
        """index of a sample → why it cannot be read, or ""."""
        _part, dataset, position = self._find(index)
        return dataset.why_unreadable(position)

    def for_input(self, preprocess: Preprocess) -> Dataset:
        """preprocess of a model → the dataset as the model reads it."""
        return self._of({part: d.for_input(preprocess) for part, d in self.parts.items()})

    def with_seed(self, seed: int) -> Dataset:
        """seed → the dataset as training reads it in one epoch."""
        return self._of({part: d.with_seed(seed) for part, d in self.parts.items()})

    def open(self, index: int) -> Tensor | ImageFile:
        """index of a sample → the file whose header was read, or the sample."""
        _part, dataset, position = self._find(index)
        return dataset.open(position)

    def with_pixels(self, channels: int | None, white: float | None) -> Dataset:
        """channels, white → the same samples, read with these."""
        return self._of({part: d.with_pixels(channels, white) for part, d in self.parts.items()})

    def _of(self, parts: Mapping[str, Dataset]) -> Dataset:
        first = next(iter(parts.values()))
        same = copy.copy(self)
        same.parts, same.sampling, same.statistics = parts, first.sampling, first.statistics
        return same

    def subset(self, indices: Sequence[int]) -> Dataset:
        """indices of samples → a dataset of these."""
        part = copy.copy(self)
        part._rows = [self._rows[index] for index in indices]
        return self._with_rest(part, indices)

    def _find(self, index: int) -> tuple[str, Dataset, int]:
        """index of a sample → name of its part, the part, and its position there."""
        row = self._rows[index]
        number = bisect.bisect_right(self._ends, row)
        part = list(self.parts)[number]
        return part, self.parts[part], row - (self._ends[number - 1] if number else 0)


def with_labels(dataset: Dataset, labels: Sequence[str]) -> Dataset:
    """A dataset whose targets are indices into other class names, matched by name.

    Args:
        dataset: any dataset; a streamed one must have these classes already.
        labels: class names.

    Returns:
        The dataset itself if it has these classes in this order.

    Raises:
        DataError: it has samples of other classes; the message names these.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> digits = open_dataset("digits", limit=20)
        >>> with_labels(digits, digits.labels[::-1]).targets()[:3] == digits.targets()[:3]
        False
    """
    if dataset.labels == list(labels):
        return dataset
    if dataset.streamed:
        raise DataError(
            f"{type(dataset).__name__} has the classes {', '.join(dataset.labels[:5])}, and "
            f"{', '.join(labels[:5])} are asked for: a stream's classes cannot be changed."
        )
    return JoinedDataset({"": dataset}, labels)


def targets_among(dataset: Dataset, labels: Sequence[str]) -> list[int]:
    """The targets of a dataset as indices into other class names.

    Names are compared as they are and, where that fails, without regard to case.

    Args:
        dataset: a dataset that is not streamed.
        labels: class names.

    Returns:
        An index into `labels` for every sample.

    Raises:
        DataError: there are samples of other classes; the message names these.

    Example:
        >>> from vitrail.data.pairs import PairDataset
        >>> pairs = [(torch.zeros(3, 4, 4, dtype=torch.uint8), name) for name in ("Cat", "dog")]
        >>> targets_among(PairDataset(pairs), ["dog", "cat", "fox"])
        [1, 0]
    """
    targets = dataset.targets()
    if not dataset.labels or dataset.values is not None:
        return targets
    positions, used = _positions(dataset.labels, labels), set(targets)
    _refuse_unknown([dataset.labels[i] for i in sorted(used) if positions[i] is None], labels)
    return [position for target in targets if (position := positions[target]) is not None]


def values_among(dataset: Dataset, labels: Sequence[str]) -> Tensor:
    """The values of a dataset with several labels or numbers, in the order of other names.

    Args:
        dataset: a dataset with `values`.
        labels: names.

    Returns:
        (N, len(labels)); 0 for labels that the dataset does not know.

    Raises:
        DataError: a sample has another label, or a number is missing.

    Example:
        >>> from vitrail.data.in_memory import InMemoryDataset
        >>> pets = InMemoryDataset(torch.zeros(1, 3, 4, 4), torch.zeros(1), ["cat", "dog"])
        >>> pets.values = torch.tensor([[0.0, 1.0]])
        >>> values_among(pets, ["Dog", "fox", "cat"])
        tensor([[1., 0., 0.]])
    """
    assert dataset.values is not None
    positions = _positions(dataset.labels, labels)
    if dataset.target == "numbers" and {*positions} != {*range(len(labels))}:
        raise DataError(
            f"the numbers {', '.join(dataset.labels)}, and the model's are {', '.join(labels)}: "
            "name columns like these."
        )
    used = dataset.values.any(0).tolist()
    columns = zip(dataset.labels, positions, used, strict=True)
    _refuse_unknown([label for label, p, is_used in columns if p is None and is_used], labels)
    values = dataset.values.new_zeros(len(dataset), len(labels))
    for column, position in enumerate(positions):
        if position is not None:
            values[:, position] = dataset.values[:, column]
    return values


def _positions(names: Sequence[str], labels: Sequence[str]) -> list[int | None]:
    """The index of each name among the labels; None where it is not."""
    if twins := set(repeated(labels)).intersection(names):
        raise DataError(
            f"{min(twins)!r} is the name of more than one class: give each class a name of its own."
        )
    exact = {label: index for index, label in enumerate(labels)}
    folded: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        folded.setdefault(label.casefold().strip(), []).append(index)
    positions: list[int | None] = []
    for name in names:
        alike = folded.get(name.casefold().strip(), [])
        positions.append(exact.get(name, alike[0] if len(alike) == 1 else None))
    return positions


def _refuse_unknown(unknown: Sequence[str], labels: Sequence[str]) -> None:
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise DataError(
            f"unknown classes {', '.join(map(repr, unknown[:5]))}{more}: remove their images, or "
            f"name them like one of the {len(labels)} known ones ({_few(labels)})."
        )


def _few(labels: Sequence[str]) -> str:
    return ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
