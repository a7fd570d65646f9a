"""Parts of datasets: without bad images, held out, balanced over classes."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from vitrail.data.dataset import Dataset
from vitrail.data.images import BadImage
from vitrail.errors import DataError

Progress = Callable[[int, int], None]  # (done, total)


def drop_unreadable(
    dataset: Dataset, bad_images: str = "raise", progress: Progress | None = None
) -> Dataset:
    """Decodes every sample.

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
    bad: dict[int, BadImage] = {}
    with ThreadPoolExecutor() as pool:
        for index, reason in enumerate(pool.map(dataset.why_unreadable, range(len(dataset)))):
            if reason:
                bad[index] = BadImage(dataset.name(index), reason)
            if progress is not None:
                progress(index + 1, len(dataset))
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
    counts = Counter(rest.targets())
    small = [label for index, label in enumerate(dataset.labels) if counts[index] < 2]
    if small:
        raise DataError(
            f"class {small[0]!r} has fewer than two readable images: add some, or remove it."
        )
    return rest


def split_off(dataset: Dataset, fraction: float) -> tuple[Dataset, Dataset]:
    """Splits off a held-out part, class by class.

    In each class the samples whose keys have the lowest hashes are held out. The split depends on
    the keys only, so a sample stays on its side when others are added or removed.

    Args:
        dataset: a dataset that is not streamed.
        fraction: fraction of each class to hold out; at least one sample.

    Returns:
        (the rest, the held-out part).

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> rest, part = split_off(open_dataset("digits", limit=100), 0.2)
        >>> len(rest), len(part)
        (80, 20)
    """
    classes: dict[int, list[int]] = defaultdict(list)
    for index, target in enumerate(dataset.targets()):
        classes[target].append(index)
    split: set[int] = set()
    for indices in classes.values():
        indices.sort(key=lambda i: hashlib.sha1(dataset.key(i).encode()).digest())
        split |= set(indices[: max(1, math.floor(len(indices) * fraction))])
    rest = [i for i in range(len(dataset)) if i not in split]
    return dataset.subset(rest), dataset.subset(sorted(split))


def balanced(dataset: Dataset, limit: int) -> Dataset:
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
