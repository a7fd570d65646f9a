"""Labelled images from a folder, the Hub, or a data set that a package ships."""

import functools
import hashlib
import math
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.data.images import BadImage, decode, from_pillow, read_image
from vitrail.preprocess import IMAGENET_MEAN, IMAGENET_STD
from vitrail.errors import DataError

Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std of each channel, on 0..1
Progress = Callable[[int, int], None]  # done, of how many


class ImageDataset(ABC):
    """Labelled images that can be read one by one, in any order."""

    labels: list[str]
    statistics: Statistics = (IMAGENET_MEAN, IMAGENET_STD)
    bad: Sequence[BadImage] = ()
    captions: Sequence[str] = ()  # of every image, where there are any

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return len(self.statistics[0])

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def targets(self) -> list[int]:
        """The label of every image."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What to call an image: its path where it has one."""

    def key(self, index: int) -> str:
        """What splits depend on: the same for an image wherever its source stands."""
        return self.name(index)

    @abstractmethod
    def read(self, index: int) -> Tensor:
        """uint8 (C, H, W)."""

    def why_unreadable(self, index: int) -> str:
        """Why an image cannot be read, "" if it can. Decodes it whole: headers survive damage."""
        try:
            self.read(index)
        except DataError as error:
            return str(error).removeprefix(f"{self.name(index)}: ").rstrip(".")
        return ""


class InMemoryDataset(ImageDataset):
    """Images of one size that fit in memory."""

    def __init__(
        self, images: Tensor, targets: Tensor, labels: list[str], statistics: Statistics, name: str
    ) -> None:
        self.images, self._targets = images, targets.long()
        self.labels, self.statistics, self._name = labels, statistics, name

    def __len__(self) -> int:
        return len(self.images)

    def targets(self) -> list[int]:
        """The label of every image."""
        return self._targets.tolist()

    def name(self, index: int) -> str:
        """Such as "fashion-mnist/test[17]"."""
        return f"{self._name}[{index}]"

    def read(self, index: int) -> Tensor:
        """uint8 (C, H, W)."""
        return self.images[index]


class FolderDataset(ImageDataset):
    """Image files whose folder is their class; without labels, all are of one, 0."""

    def __init__(
        self, root: Path, files: list[Path], targets: list[int], labels: list[str]
    ) -> None:
        self.root, self.files, self._targets, self.labels = root, files, targets, labels

    def __len__(self) -> int:
        return len(self.files)

    def targets(self) -> list[int]:
        """The label of every image."""
        return self._targets

    def name(self, index: int) -> str:
        """The path."""
        return str(self.files[index])

    def key(self, index: int) -> str:
        """The path inside the folder, however the folder itself was named."""
        return self.files[index].relative_to(self.root).as_posix()

    def read(self, index: int) -> Tensor:
        """uint8 (3, H, W)."""
        return read_image(self.files[index], self.channels)

    def why_unreadable(self, index: int) -> str:
        """Why a file cannot be read, "" if it can; remembered while the file stays as it is."""
        try:
            stat = self.files[index].stat()
        except OSError as error:  # a link to nowhere
            return error.strerror or type(error).__name__
        return _why_unreadable(self.files[index], stat.st_mtime_ns, stat.st_size)


@functools.cache
def _why_unreadable(path: Path, modified: int, size: int) -> str:
    """Decodes a file whole, because a header survives where the rest does not. "" if it is fine.

    Remembered as long as the file stays as it is: both splits of a folder ask for all its files.
    """
    del modified, size  # they only tell one state of the file from another
    try:
        read_image(path)
    except DataError as error:
        return str(error).removeprefix(f"{path}: ").rstrip(".")
    return ""


class HubDataset(ImageDataset):
    """A split of a data set of the Hugging Face `datasets` library."""

    def __init__(self, dataset: Any, name: str) -> None:
        self._name = name
        self._image, self._label, self.labels = _columns(dataset.features, name)
        self.dataset = self._undecoded(dataset)

    def _undecoded(self, dataset: Any) -> Any:
        """Images as bytes, so that a bad one is named as everywhere else."""
        from datasets import Image

        return dataset.cast_column(self._image, Image(decode=False))

    def __len__(self) -> int:
        return len(self.dataset)

    def targets(self) -> list[int]:
        """The label of every image."""
        return list(self.dataset[self._label])

    def name(self, index: int) -> str:
        """Such as "hub:beans/train[17]"."""
        return f"{self._name}[{index}]"

    def key(self, index: int) -> str:
        """The place in the split: a data set may lie in a folder, which may move."""
        return f"{index:08}"

    def read(self, index: int) -> Tensor:
        """uint8 (3, H, W)."""
        return self._pixels(self.dataset[index], self.name(index))

    def _pixels(self, row: dict[str, Any], name: str) -> Tensor:
        image = row[self._image]
        if not isinstance(image, dict):
            return from_pillow(image, self.channels)
        data = image.get("bytes") or Path(image["path"]).read_bytes()
        return decode(data, self.channels, name)


class StreamedDataset(HubDataset):
    """A split that is read as it comes, too large to keep.

    Its order is that of `datasets`' shuffle buffer, a function of seed and epoch; resuming skips
    to the position. Its length must be known: from the data set's card, or `data.limit`.
    """

    BUFFER = 1000

    def __init__(self, dataset: Any, name: str, length: int) -> None:
        super().__init__(dataset, name)
        self._length = length

    def _undecoded(self, dataset: Any) -> Any:
        """As it comes: the bytes of a streamed image may be elsewhere still."""
        return dataset

    def __len__(self) -> int:
        return self._length

    def targets(self) -> list[int]:
        """Not known before the images are read."""
        raise DataError(f"{self._name} is streamed: its labels are not known beforehand.")

    def read(self, index: int) -> Tensor:
        """A stream cannot be read out of order."""
        raise DataError(f"{self._name} is streamed: image {index} cannot be read by its index.")

    def stream(self, seed: int | None, epoch: int, start: int) -> Iterator[tuple[Tensor, int, int]]:
        """(image, label, position) from `start` on; shuffled unless seed is None."""
        rows = self.dataset
        if seed is not None:
            rows = rows.shuffle(seed=seed * 1_000_003 + epoch, buffer_size=self.BUFFER)
        for position, row in enumerate(rows.skip(start).take(self._length - start), start):
            yield self._pixels(row, self.name(position)), row[self._label], position


def _columns(features: Any, name: str) -> tuple[str, str, list[str]]:
    """The image column, the label column and the labels' names."""
    from datasets import ClassLabel, Image

    images = [k for k, v in (features or {}).items() if isinstance(v, Image)]
    labels = [k for k, v in (features or {}).items() if isinstance(v, ClassLabel)]
    if not images or not labels:
        raise DataError(
            f"{name} has columns {list(features or {})}: one image and one class-label column are "
            "needed."
        )
    label = "label" if "label" in labels else labels[0]
    return images[0], label, list(features[label].names)


def subset(source: ImageDataset, indices: Sequence[int]) -> ImageDataset:
    """Some images of a source, in the order given."""
    targets = source.targets()
    if isinstance(source, InMemoryDataset):
        chosen = torch.as_tensor(indices, dtype=torch.long)
        part: ImageDataset = InMemoryDataset(
            source.images[chosen], source._targets[chosen], source.labels, source.statistics,
            source._name,
        )  # fmt: skip
    elif isinstance(source, FolderDataset):
        files = [source.files[i] for i in indices]
        part = FolderDataset(source.root, files, [targets[i] for i in indices], source.labels)
    elif isinstance(source, HubDataset) and not isinstance(source, StreamedDataset):
        part = HubDataset(source.dataset.select(indices), source._name)
    else:
        raise DataError(
            "a streamed source cannot be split: name a split of its own for validation."
        )
    part.bad = source.bad
    part.captions = [source.captions[i] for i in indices] if source.captions else ()
    return part


def check(source: ImageDataset, bad_images: str, progress: Progress | None = None) -> ImageDataset:
    """Decodes every image; raises for bad ones, or leaves them out and lists them in `bad`."""
    found: dict[int, BadImage] = {}
    with ThreadPoolExecutor() as pool:
        for index, reason in enumerate(pool.map(source.why_unreadable, range(len(source)))):
            if reason:
                found[index] = BadImage(source.name(index), reason)
            if progress is not None:
                progress(index + 1, len(source))
    if not found:
        return source
    if bad_images == "raise":
        shown = "; ".join(f"{name} ({reason})" for name, reason in list(found.values())[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise DataError(
            f"{len(found)} of {len(source)} images cannot be read: {shown}{more}. "
            "Remove them, or set data.bad_images=skip to train without them."
        )
    kept = subset(source, [i for i in range(len(source)) if i not in found])
    kept.bad = list(found.values())
    left = Counter(kept.targets())
    few = [label for index, label in enumerate(source.labels) if left[index] < 2]
    if few:
        raise DataError(
            f"fewer than two readable images are left in {few[0]!r}: add some, or remove it."
        )
    return kept


def split_off(source: ImageDataset, fraction: float) -> tuple[ImageDataset, ImageDataset]:
    """(rest, held out): in each class the `fraction` whose names hash lowest, at least one image.

    Depends on names only, so an image stays on its side when others come or go.
    """
    classes: dict[int, list[int]] = defaultdict(list)
    for index, target in enumerate(source.targets()):
        classes[target].append(index)
    held: set[int] = set()
    for indices in classes.values():
        indices.sort(key=lambda i: hashlib.sha1(source.key(i).encode()).digest())
        held |= set(indices[: max(1, math.floor(len(indices) * fraction))])
    rest = [i for i in range(len(source)) if i not in held]
    return subset(source, rest), subset(source, sorted(held))


def balanced(source: ImageDataset, limit: int) -> ImageDataset:
    """The first images of each class, `limit` in all, as even as the classes allow."""
    seen: Counter[int] = Counter()
    ranked = []
    for index, target in enumerate(source.targets()):
        ranked.append((seen[target], index))
        seen[target] += 1
    return subset(source, sorted(index for _, index in sorted(ranked)[:limit]))
