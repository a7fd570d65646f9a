"""Shards of our own are what webdataset and `shards:PATH` read."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.data.folder_dataset import FolderDataset
from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.loader import Loader
from vitrail.data.recording_dataset import RecordingDataset
from vitrail.data.registry import open_dataset, open_parts
from vitrail.data.shard_writer import pack
from vitrail.errors import ConfigError, DataError
from vitrail.preprocess import Preprocess, Sampling


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
    with pytest.raises(DataError, match="are of images and volumes: pack each by itself"):
        pack({"train": clips, "test": source}, tmp_path / "shards")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def recordings(root: Path) -> dict[str, Path]:
    """Folders of videos, volumes and signals in every form, one class for each file."""
    av = pytest.importorskip("av")
    nibabel = pytest.importorskip("nibabel")
    wavfile = pytest.importorskip("scipy.io.wavfile")
    from tests.data.test_recordings import write_video

    for kind, names in {"videos": "ab", "volumes": "abcd", "signals": "abcd"}.items():
        for name in names:
            (root / kind / name).mkdir(parents=True)
    write_video(root / "videos" / "a" / "1.mp4", 12)
    for kind, label, mode in (("videos", "b", "RGB"), ("volumes", "d", "L")):
        (root / kind / label / "stack").mkdir()
        for number in range(12):
            file = root / kind / label / "stack" / f"{number}.png"
            Image.effect_noise((64, 48), 40 + number).convert(mode).save(file)
    values = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    np.save(root / "volumes" / "a" / "1.npy", values)
    nifti = nibabel.Nifti1Image(values, np.diag([-1, 1, 1, 1]))
    nibabel.save(nifti, root / "volumes" / "b" / "1.nii.gz")
    pages = [Image.effect_noise((6, 5), 30 + n) for n in range(4)]
    pages[0].save(root / "volumes" / "c" / "1.tif", save_all=True, append_images=pages[1:])
    np.savetxt(root / "signals" / "a" / "1.csv", values[0], delimiter=",")
    np.savetxt(root / "signals" / "b" / "1.txt", values[1])
    np.save(root / "signals" / "c" / "1.npy", values[2])
    wavfile.write(root / "signals" / "d" / "1.wav", 100, (values[3] * 1000).astype(np.int16))
    assert av is not None
    return {kind: root / kind for kind in ("videos", "volumes", "signals")}


def test_recordings_in_shards_are_those_of_their_files(tmp_path: Path) -> None:
    for kind, folder in recordings(tmp_path).items():
        source = open_dataset(f"{kind}:{folder}")
        [path] = pack({"train": source}, tmp_path / "shards" / kind)
        packed = open_dataset(f"shards:{path.parent}")
        assert isinstance(packed, RecordingDataset) and packed.kind.name == kind
        assert packed.labels == source.labels and len(packed) == len(source)
        size = (40,) if kind == "signals" else (3, 4, 5)
        parts = [d.for_input(Preprocess(size, None)) for d in (source, packed)]
        where = {packed.key(i): i for i in range(len(packed))}
        for index in range(len(source)):
            name = where[source.key(index)]
            assert packed.targets()[name] == source.targets()[index]
            assert torch.equal(parts[0].read(index), parts[1].read(name)), source.name(index)
            assert packed.state(name)
        (path.parent / "dataset.json").unlink()
        if kind == "videos":  # arrays may be images
            assert len(open_dataset(f"shards:{path.parent}")) == len(source)
        again = open_dataset(f"shards:{path.parent}?kind={kind}")
        pack({"train": again}, tmp_path / "again" / kind)
        assert len(open_dataset(f"shards:{tmp_path / 'again' / kind}")) == len(source)
        assert again.subset([1]).key(0) == again.key(1)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_epoch_has_every_recording_once(tmp_path: Path, workers: int) -> None:
    (tmp_path / "signals").mkdir()
    for number in range(19):
        np.save(tmp_path / "signals" / f"{number}.npy", np.full(9, number, np.float32))
    pack({"train": open_dataset(f"signals:{tmp_path / 'signals'}")}, tmp_path / "shards")
    dataset = open_dataset(f"shards:{tmp_path / 'shards'}").for_input(
        Preprocess((4,), None, sampling=Sampling(stride=1))
    )

    def batches(rank: int, workers: int, start: int = 0) -> list[list[float]]:
        loader = Loader(
            dataset, 6, lambda part: part, seed=3, workers=workers, shard=(rank, 2), deals=True
        )
        return [batch.images[:, 0, 0].tolist() for batch in loader.epoch(1, start)]

    ranks = [batches(rank, workers) for rank in range(2)]
    assert sorted(value for rank in ranks for b in rank for value in b) == list(range(19))
    if workers == 3:  # an epoch that is entered in its middle, at another number of workers
        assert batches(1, 0, 1)[-1] == ranks[1][-1]


def test_clips_in_memory_are_arrays(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (4, 1, 3, 8, 8), dtype=torch.uint8)
    pack({"train": InMemoryDataset(pixels, torch.arange(4) % 2, ["a", "b"])}, tmp_path / "clips")
    packed = open_dataset(f"shards:{tmp_path / 'clips'}")
    assert isinstance(packed, RecordingDataset) and packed.kind.name == "volumes"
    for index in range(4):
        number = int(packed.key(index).removeprefix("memory[").removesuffix("]"))
        assert torch.equal(packed.read(index), pixels[number])
