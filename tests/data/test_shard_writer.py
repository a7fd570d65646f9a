"""Shards of our own are what webdataset and `shards:PATH` read."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from vitrail.data.folder_dataset import FolderDataset
from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.registry import open_dataset, open_parts
from vitrail.data.shard_writer import pack
from vitrail.errors import ConfigError, DataError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(12):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"a.b {number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (number * 20,) * 3).save(path)
    return tmp_path / "photos"


@pytest.mark.filterwarnings("ignore")  # webdataset leaves files open
def test_a_folder_becomes_shards_that_webdataset_reads(photos: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    source = open_dataset(f"folder:{photos}")
    reports: list[tuple[int, int]] = []
    folder = tmp_path / "shards"
    [path] = pack({"train": source}, folder, progress=lambda *report: reports.append(report))
    assert path == folder / "train-000000.tar" and reports[-1] == (12, 12)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False).decode("pil"))
    assert {s["json"]["file_name"] for s in samples} == {source.key(i) for i in range(12)}
    for sample in samples:
        assert ("cat", "dog")[sample["cls"]] == sample["json"]["file_name"][:3]
        assert sample["jpg"].size == (40, 30)
    assert len({sample["cls"] for sample in samples[:6]}) == 2  # not one class after the other
    packed = open_dataset(f"shards:{folder}")
    assert packed.labels == ["cat", "dog"] and packed.counts() == source.counts()
    where = {packed.key(i): i for i in range(12)}
    for index in range(12):
        assert packed.open(where[source.key(index)]).data == source.open(index).data
    assert json.loads((folder / "dataset.json").read_text())["shards"] == {path.name: 12}
    [again] = pack({"train": source}, tmp_path / "again")
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()


def test_sizes_splits_and_pixels(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (6, 3, 500, 500), dtype=torch.uint8)
    source = InMemoryDataset(pixels, torch.arange(6) % 2, ["a", "b"])
    parts = {"train": source, "test": source.subset([0, 1])}
    paths = pack(parts, tmp_path / "shards", shard_size=1)
    assert [path.name for path in paths] == [
        *(f"train-{number:06}.tar" for number in range(3)),
        "test-000003.tar",
    ]
    packed = {split: part() for split, part in open_parts(f"shards:{tmp_path}/shards").items()}
    assert {split: len(part) for split, part in packed.items()} == {"train": 6, "test": 2}
    for part in packed.values():
        for index in range(len(part)):
            number = int(part.key(index).removeprefix("memory[").removesuffix("]"))
            assert torch.equal(part.read(index), pixels[number])
    five = InMemoryDataset(pixels[:, :1].repeat(1, 5, 1, 1), torch.arange(6), [*"abcdef"])
    pack({"train": five}, tmp_path / "five")
    read = open_parts(f"shards:{tmp_path}/five")["train"]().with_pixels(5, None)
    assert read.read(0).shape == (5, 500, 500)


def test_other_labels_captions_and_weights(photos: Path, tmp_path: Path) -> None:
    source = open_dataset(f"folder:{photos}").subset([0, 1, 2])
    assert isinstance(source, FolderDataset)
    source.labels, source.target = ["z", "y"], "labels"
    source.values = torch.tensor([[1.0, 0], [1, 1], [0, 0]])
    source.captions, source.weights = ["one", "two", "三"], torch.tensor([1.0, 2, 3])
    pack({"train": source}, tmp_path / "labels")
    packed = open_dataset(f"shards:{tmp_path}/labels")
    order = [[packed.key(i) for i in range(3)].index(source.key(i)) for i in range(3)]
    assert (packed.labels, packed.target) == (["z", "y"], "labels")
    assert torch.equal(packed.truth()[order], source.values)
    assert [packed.captions[i] for i in order] == source.captions
    assert packed.weights is not None and packed.weights[order].tolist() == [1, 2, 3]
    source.target, source.values = "numbers", torch.tensor([[0.1, 2], [3, 4], [5, 6]])
    pack({"train": source}, tmp_path / "numbers")
    packed = open_dataset(f"shards:{tmp_path}/numbers")
    assert (packed.labels, packed.target) == (["z", "y"], "numbers")
    order = [[packed.key(i) for i in range(3)].index(source.key(i)) for i in range(3)]
    assert torch.equal(packed.truth()[order], source.values)


def test_nothing_is_overwritten_and_nothing_half_written(photos: Path, tmp_path: Path) -> None:
    source = open_dataset(f"folder:{photos}")
    with pytest.raises(ConfigError, match="not an empty folder"):
        pack({"train": source}, photos)
    (photos / "dog" / "a.b 11.jpg").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        pack({"train": source}, tmp_path / "shards")
    clips = InMemoryDataset(
        torch.zeros(2, 3, 4, 8, 8, dtype=torch.uint8), torch.arange(2), ["a", "b"]
    )
    with pytest.raises(DataError, match="shards hold images"):
        pack({"train": clips}, tmp_path / "shards")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
