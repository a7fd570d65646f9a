"""Parts of datasets: without bad images, held out, balanced over classes."""

import hashlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Annotated

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.data.check import Progress as Progress
from vitrail.data.check import check
from vitrail.data.dataset import Dataset
from vitrail.data.images import BadImage
from vitrail.data.joined import JoinedDataset
from vitrail.errors import DataError
from vitrail.values import PositiveInt, Range

Parts = Mapping[str, Callable[[], Dataset]]  # "train", "val", "test" → opens that split
Part = Annotated[float, Range(0, 1, low_included=False, high_included=False)]  # of all samples
SPLITS = ("train", "val", "test")
VALIDATION_FRACTION = 0.2  # fraction of the training samples that is held out for validation
LARGEST_VALIDATION = 5000  # samples


def drop_unreadable(
    dataset: Dataset, bad_images: str = "raise", progress: Progress | None = None
) -> Dataset:
    """Decodes every sample that no earlier check has decoded.

    Args:
        dataset: a dataset that is not streamed.
        bad_images: "raise" for an error that names them, "skip" to leave them out.
        progress: called with (done, total).

    Returns:
        The dataset without its bad images, which its `bad_images` lists.

    Raises:
        DataError: there are bad images, or too few others.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> len(drop_unreadable(open_dataset("digits", limit=20)))
        20
    """
    verdicts = check(dataset, progress)
    bad = {i: BadImage(dataset.name(i), v.reason) for i, v in verdicts.items() if v.reason}
    dataset.odd_images = [
        BadImage(dataset.name(i), v.remark) for i, v in verdicts.items() if not v.reason
    ]
    if not bad:
        return dataset
    if bad_images == "raise":
        examples = "; ".join(f"{name} ({reason})" for name, reason in list(bad.values())[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise DataError(
            f"{len(bad)} of {len(dataset)} images cannot be read: {examples}{more}. "
            "Remove them, or set bad_images=skip to leave them out."
        )
    rest = dataset.subset([i for i in range(len(dataset)) if i not in bad])
    rest.bad_images = list(bad.values())
    before, after = Counter(dataset.targets()), Counter(rest.targets())
    empty = [label for i, label in enumerate(dataset.labels) if before[i] and not after[i]]
    if empty or not len(rest):
        subject = f"class {empty[0]!r}" if empty else "what is left"
        name, reason = rest.bad_images[0]
        raise DataError(
            f"{subject} has no readable image, such as {name} ({reason}): add some, or remove it."
        )
    return rest


def open_part(parts: Parts, split: str | None, name: str) -> tuple[str, Dataset]:
    """Opens one split of those that a dataset has.

    Args:
        parts: its splits.
        split: "train", "val" or "test"; "all" for all samples; None for "test" if there is one,
            "val" if not, and otherwise "all".
        name: name of the dataset for messages.

    Returns:
        The name of the split, and its samples.

    Raises:
        DataError: there is no such split.

    Example:
        >>> from vitrail.data.registry import open_parts
        >>> split, dataset = open_part(open_parts("digits"), None, "digits")
        >>> split, len(dataset)
        ('test', 355)
    """
    if split is None:
        split = next((s for s in ("test", "val") if s in parts), "all")
    if split == "all":
        opened = {s: parts[s]() for s in SPLITS if s in parts}
        return "all", JoinedDataset(opened) if len(opened) > 1 else next(iter(opened.values()))
    if split not in parts:
        raise DataError(
            f"{name} has no split {split!r}: it has {', '.join(map(repr, parts))}, and 'all' is "
            "all of its images."
        )
    return split, parts[split]()


@checked
def split_off(dataset: Dataset, fraction: Part | None = None) -> tuple[Dataset, Dataset]:
    """Splits off a held-out part, class by class.

    In each class the samples whose keys have the lowest hashes are held out. The split depends on
    the keys only, so a sample stays on its side when others are added or removed.

    Args:
        dataset: a dataset that is not streamed.
        fraction: fraction of each class to hold out, at least one sample; None for a fifth, or less
            so that at most 5,000 samples are held out.

    Returns:
        (the rest, the held-out part).

    Raises:
        DataError: a class has only one sample.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> rest, part = split_off(open_dataset("digits", limit=100), 0.2)
        >>> len(rest), len(part)
        (80, 20)
    """
    if fraction is None:
        fraction = min(VALIDATION_FRACTION, LARGEST_VALIDATION / max(len(dataset), 1))
    part: set[int] = set()
    order = _by_hash(dataset)
    _check_pairs(dataset, order)
    for indices in order.values():
        part |= set(indices[: max(1, math.floor(len(indices) * fraction))])
    return _divide(dataset, part)


def _check_pairs(dataset: Dataset, order: dict[int, list[int]]) -> None:
    """Raises `DataError` if a class has only one sample."""
    single = [target for target, indices in order.items() if len(indices) < 2]
    if not single:
        return
    names = [repr(dataset.labels[target]) for target in single] if dataset.labels else []
    listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    subject = f"classes {listed} have" if len(names) > 1 else f"class {listed or 'of all'} has"
    raise DataError(
        f"{subject} one image, and two are needed to hold one out for validation: add one, remove "
        "the class, or give the validation a split of its own."
    )


def split_fold(dataset: Dataset, number: int, folds: int) -> tuple[Dataset, Dataset]:
    """Splits off one of several parts of the same size, for cross-validation.

    Args:
        dataset: a dataset that is not streamed.
        number: of the part, from 1.
        folds: number of parts; every sample is in one of them.

    Returns:
        (the rest, the part). Each class is divided as evenly as it can be.

    Raises:
        DataError: a class has fewer samples than there are parts.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> rest, part = split_fold(open_dataset("digits", limit=100), 1, 5)
        >>> len(rest), len(part)
        (80, 20)
    """
    numbers = fold_numbers(dataset, folds)
    return _divide(dataset, set((numbers == number).nonzero().flatten().tolist()))


def fold_numbers(dataset: Dataset, folds: int) -> Tensor:
    """Divides a dataset into parts of the same size, each class as evenly as it can be.

    Args:
        dataset: a dataset that is not streamed.
        folds: number of parts.

    Returns:
        (N,), the part of each sample, from 1.

    Raises:
        DataError: a class has fewer samples than there are parts.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> fold_numbers(open_dataset("digits", limit=100), 5).bincount().tolist()
        [0, 20, 20, 20, 20, 20]
    """
    numbers = torch.zeros(len(dataset), dtype=torch.long)
    position = 0  # over all classes, so that parts of many small classes have the same size
    for target, indices in sorted(_by_hash(dataset).items()):
        if len(indices) < folds:
            label = repr(dataset.labels[target]) if dataset.labels else "of all images"
            raise DataError(
                f"class {label} has {len(indices)} images, fewer than folds={folds}: take fewer "
                "folds, or add images."
            )
        ranks = torch.arange(position, position + len(indices))
        numbers[indices] = ranks % folds + 1
        position += len(indices)
    return numbers


def _by_hash(dataset: Dataset) -> dict[int, list[int]]:
    """The indices of each class, in the order of the hashes of their keys."""
    classes: dict[int, list[int]] = defaultdict(list)
    for index, target in enumerate(dataset.targets()):
        classes[target].append(index)
    for indices in classes.values():
        # Names of files need not be UTF-8.
        indices.sort(key=lambda i: hashlib.sha1(os.fsencode(dataset.key(i))).digest())
    return classes


def _divide(dataset: Dataset, part: set[int]) -> tuple[Dataset, Dataset]:
    rest = [index for index in range(len(dataset)) if index not in part]
    return dataset.subset(rest), dataset.subset(sorted(part))


@checked
def balanced(dataset: Dataset, limit: PositiveInt) -> Dataset:
    """The first samples of each class, as evenly as the classes allow.

    Args:
        dataset: a dataset that is not streamed.
        limit: number of samples of all classes together.

    Returns:
        A dataset of `limit` samples in their old order, or of all if there are fewer.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> sorted(balanced(open_dataset("digits"), 10).targets())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    counts: Counter[int] = Counter()
    ranked = []
    for index, target in enumerate(dataset.targets()):
        ranked.append((counts[target], index))
        counts[target] += 1
    return dataset.subset(sorted(index for _, index in sorted(ranked)[:limit]))
