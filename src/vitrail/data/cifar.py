"""CIFAR-10 and CIFAR-100 as their authors publish them (Krizhevsky 2009): an archive or a folder.

Both the "python" version, pickled, and the "binary" one are read. A pickle may name any function to
call, so nothing that one names is looked up: arrays are rebuilt here, from their bytes.
"""

import functools
import io
import math
import pickle
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitrail.data.dataset import Dataset, Statistics
from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.splits import Parts
from vitrail.errors import DataError

PIXELS = 3 * 32 * 32
LARGEST = 2**28  # bytes of a file inside; the largest of theirs has 155 MB


class _Version(NamedTuple):
    """Names of the files of a split, of the file of class names, and where labels are."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    names_key: bytes
    labels_key: bytes
    label_bytes: int  # before the pixels, in the binary version; the last is the label


BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR = {
    10: _Version(BATCHES, ("test_batch",), "batches.meta", b"label_names", b"labels", 1),
    100: _Version(("train",), ("test",), "meta", b"fine_label_names", b"fine_labels", 2),
}
STATISTICS: Statistics = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def open_cifar(path: str, classes: int) -> Parts:
    """CIFAR-10 or CIFAR-100 of a local archive or folder.

    Args:
        path: cifar-10-python.tar.gz, cifar-10-binary.tar.gz, the like of CIFAR-100, or a folder of
            what they hold.
        classes: 10 or 100.

    Returns:
        The splits "train" and "test".

    Raises:
        DataError: it is nothing of the kind.

    Example:
        >>> open_cifar("nowhere.tar.gz", 10)
        Traceback (most recent call last):
        vitrail.errors.DataError: no file 'nowhere.tar.gz': give cifar-10-python.tar.gz, or...
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise DataError(
            f"no file {str(root)!r}: give cifar-{classes}-python.tar.gz, or a folder of what it "
            "holds."
        )
    splits = {"train": CIFAR[classes].train, "test": CIFAR[classes].test}
    return {s: functools.partial(_split, root, classes, s, names) for s, names in splits.items()}


def _split(root: Path, classes: int, split: str, names: tuple[str, ...]) -> Dataset:
    version = CIFAR[classes]
    texts = (f"{version.names}.txt", "fine_label_names.txt")
    binary = tuple(f"{name}.bin" for name in names)
    files = dict(_files(root, {*names, *binary, version.names, *texts}))
    pickled = all(name in files for name in names)
    if not pickled and not all(name in files for name in binary):
        raise DataError(
            f"{root} holds no {names[0]} and no {binary[0]}: give the archive of CIFAR-{classes}."
        )
    images, targets = [], []
    for name in names if pickled else binary:
        read = _read_pickled if pickled else _read_binary
        pixels, labels = read(files[name], f"{root}: {name}", version)
        images.append(pixels)
        targets.append(labels)
    names_of_classes = _class_names(root, files, version, texts)
    target = torch.cat(targets)
    if not 0 <= int(target.min()) <= int(target.max()) < len(names_of_classes):
        raise DataError(f"{root}: labels are not within the {len(names_of_classes)} classes.")
    label = f"cifar{classes}/{split}"
    return InMemoryDataset(torch.cat(images), target, names_of_classes, STATISTICS, label)


def _files(root: Path, names: set[str]) -> Iterator[tuple[str, bytes]]:
    """The files with these names, wherever in the archive or the folder they are."""
    try:
        if root.is_dir():
            for path in sorted(root.rglob("*")):
                if path.name in names and path.is_file() and path.stat().st_size <= LARGEST:
                    yield path.name, path.read_bytes()
            return
        with tarfile.open(root) as archive:  # nothing is extracted
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in names and member.isreg() and member.size <= LARGEST:
                    file = archive.extractfile(member)
                    assert file is not None  # it is a regular file
                    yield name, file.read()
    except (OSError, tarfile.TarError, EOFError) as problem:
        raise DataError(f"{root}: not an archive of CIFAR ({problem}).") from None


def _read_pickled(data: bytes, name: str, version: _Version) -> tuple[Tensor, Tensor]:
    batch = load_arrays(data, name)
    pixels, labels = batch.get(b"data"), batch.get(version.labels_key)
    if not isinstance(pixels, Tensor) or not isinstance(labels, list):
        raise DataError(f"{name} has no images and labels.")
    if pixels.ndim != 2 or pixels.shape != (len(labels), PIXELS):
        raise DataError(
            f"{name} has pixels of shape {tuple(pixels.shape)} for {len(labels)} labels."
        )
    return pixels.reshape(-1, 3, 32, 32), torch.tensor(labels)


def _read_binary(data: bytes, name: str, version: _Version) -> tuple[Tensor, Tensor]:
    length = version.label_bytes + PIXELS
    if not data or len(data) % length:
        raise DataError(f"{name} has {len(data)} bytes, no multiple of {length}.")
    rows = torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(-1, length)
    pixels = rows[:, version.label_bytes :].reshape(-1, 3, 32, 32).contiguous()
    return pixels, rows[:, version.label_bytes - 1].long()


def _class_names(
    root: Path, files: Mapping[str, bytes], version: _Version, texts: tuple[str, ...]
) -> list[str]:
    if version.names in files:
        names = load_arrays(files[version.names], f"{root}: {version.names}").get(version.names_key)
        if isinstance(names, list) and names:
            return [n.decode() if isinstance(n, bytes) else str(n) for n in names]
    for text in texts:
        if names := files.get(text, b"").decode(errors="replace").split():
            return names
    raise DataError(f"{root} has no file of class names, {version.names} or {texts[0]}.")


def load_arrays(data: bytes, name: str) -> dict[bytes, Any]:
    """Reads a pickled dictionary of arrays of bytes, without calling anything that it names.

    Args:
        data: the bytes of the file.
        name: name of the file for messages.

    Returns:
        Its values, with arrays as uint8 tensors.

    Raises:
        DataError: it holds something else.

    Example:
        >>> load_arrays(pickle.dumps({b"labels": [3, 5]}), "batch")
        {b'labels': [3, 5]}
        >>> load_arrays(pickle.dumps({b"labels": print}), "batch")
        Traceback (most recent call last):
        vitrail.errors.DataError: batch: names builtins.print, which arrays do not need: it...
    """
    try:
        content = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except DataError as problem:
        raise DataError(f"{name}: {problem}") from None
    except Exception as problem:  # a broken pickle raises many kinds
        raise DataError(f"{name}: damaged ({type(problem).__name__}: {problem}).") from None
    if not isinstance(content, dict):
        raise DataError(f"{name}: holds a {type(content).__name__}, and no batch of images.")
    return {
        key.encode() if isinstance(key, str) else key: v.tensor() if isinstance(v, _Array) else v
        for key, v in content.items()
    }


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """module, name → what stands in for NumPy's functions; nothing is imported."""
        if name in _STAND_INS and module.split(".")[0] in ("numpy", "_codecs"):
            return _STAND_INS[name]
        raise DataError(f"names {module}.{name}, which arrays do not need: it is not read.")


class _Array:
    """What NumPy's pickles call to make an array: first empty, then filled by its state."""

    def __init__(self, *_arguments: object) -> None:
        self.shape: tuple[int, ...] = ()
        self.data = b""

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, is_fortran, data = state
        data = data.encode("latin1") if isinstance(data, str) else data
        if getattr(dtype, "code", "") not in ("u1", "|u1") or is_fortran:
            raise DataError("holds an array of other numbers than bytes.")
        if len(data) != math.prod(shape):
            raise DataError(f"holds {len(data)} bytes for an array of shape {shape}.")
        self.shape, self.data = tuple(shape), data

    def tensor(self) -> Tensor:
        return torch.frombuffer(bytearray(self.data), dtype=torch.uint8).reshape(self.shape)


class _Dtype:
    def __init__(self, code: object = "", *_arguments: object) -> None:
        self.code = code.decode() if isinstance(code, bytes) else str(code)

    def __setstate__(self, state: object) -> None:
        """The byte order, which bytes do not have."""


def _encode(text: str, _encoding: str) -> bytes:
    return text.encode("latin1")


_STAND_INS = {"_reconstruct": _Array, "ndarray": _Array, "dtype": _Dtype, "encode": _encode}
