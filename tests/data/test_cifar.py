"""CIFAR's archives, and pickles that want more than arrays."""

import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from vitrail.data.cifar import load_arrays
from vitrail.data.registry import open_dataset
from vitrail.errors import DataError

NAMES = [f"class{i}" for i in range(10)]
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)


def write(root: Path, *, binary: bool = False, protocol: int = 2) -> Path:
    """A folder of batches of four images, as the authors' archive has it."""
    root.mkdir(parents=True)
    batches = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for number, name in enumerate(batches):
        labels = [(number + i) % 10 for i in range(4)]
        if binary:
            rows = np.concatenate([np.array(labels, dtype=np.uint8)[:, None], PIXELS], 1)
            (root / f"{name}.bin").write_bytes(rows.tobytes())
        else:
            batch = {b"data": PIXELS, b"labels": labels}
            (root / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    if binary:
        (root / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    else:
        meta = {b"label_names": [name.encode() for name in NAMES]}
        (root / "batches.meta").write_bytes(pickle.dumps(meta, protocol=protocol))
    return root


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("archive", [False, True])
def test_both_versions_of_cifar_10(tmp_path: Path, binary: bool, archive: bool) -> None:
    path = write(tmp_path / "cifar-10-batches-py", binary=binary)
    if archive:
        with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as file:
            file.add(path, "cifar-10-batches-py")
        path = tmp_path / "cifar.tar.gz"
    train, test = (open_dataset(f"cifar10:{path}", split) for split in ("train", "test"))
    assert (len(train), len(test), train.labels) == (20, 4, NAMES)
    assert train.targets()[:8] == [0, 1, 2, 3, 1, 2, 3, 4] and test.targets() == [5, 6, 7, 8]
    assert torch.equal(test.read(2), torch.from_numpy(PIXELS[2]).reshape(3, 32, 32))


def test_cifar_100_has_fine_labels(tmp_path: Path) -> None:
    for name in ("train", "test"):
        batch = {b"data": PIXELS, b"fine_labels": [0, 99, 5, 6], b"coarse_labels": [1, 1, 1, 1]}
        (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {b"fine_label_names": [f"fine{i}".encode() for i in range(100)]}
    (tmp_path / "meta").write_bytes(pickle.dumps(meta))
    dataset = open_dataset(f"cifar100:{tmp_path}")
    assert dataset.labels[99] == "fine99" and dataset.targets() == [0, 99, 5, 6]


class Attack:
    """A pickle that runs a command where it is loaded."""

    def __reduce__(self) -> object:
        return os.system, ("touch /tmp/owned-by-a-pickle",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    root = write(tmp_path / "cifar")
    (root / "data_batch_3").write_bytes(pickle.dumps({b"data": Attack()}, protocol=protocol))
    with pytest.raises(DataError, match=r"data_batch_3: names \w+\.system, which arrays do not"):
        open_dataset(f"cifar10:{root}")
    assert not Path("/tmp/owned-by-a-pickle").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({b"data": np.zeros(4)}, "other numbers than bytes"),
        ({b"data": np.random.RandomState(0)}, "which arrays do not need"),
        ([1], "holds a list, and no batch"),
    ],
)
def test_what_is_no_batch_is_told(content: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_arrays(pickle.dumps(content, protocol=2), "batch")


def test_damaged_and_missing_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="batch: damaged"):
        load_arrays(b"\x80\x02}q", "batch")
    with pytest.raises(DataError, match="holds no data_batch_1 and no data_batch_1.bin"):
        open_dataset(f"cifar10:{tmp_path}")
    (tmp_path / "x.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match="not an archive of CIFAR"):
        open_dataset(f"cifar10:{tmp_path / 'x.tar.gz'}")
    root = write(tmp_path / "cut", binary=True)
    (root / "test_batch.bin").write_bytes(b"123")
    with pytest.raises(DataError, match="has 3 bytes, no multiple of 3073"):
        open_dataset(f"cifar10:{root}", "test")
