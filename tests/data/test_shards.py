"""Tar shards: those of the real ShardWriter, damaged ones, and the order of an epoch."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vitrail.data import shard_description
from vitrail.data.loader import Loader, canvas
from vitrail.data.registry import absolute_name, open_dataset, open_parts
from vitrail.data.shards import expand_braces
from vitrail.errors import DataError, VitrailError

NUMBER = 24


def picture(value: int, form: str = "png") -> bytes:
    """An image of one gray value."""
    file = io.BytesIO()
    Image.new("RGB", (6, 5), (value,) * 3).save(file, form, lossless=True)
    return file.getvalue()


def write(pattern: Path, samples: list[dict[str, Any]], count: int = 10) -> None:
    """Samples → shards of `count`, by the real ShardWriter."""
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(pattern), maxcount=count, verbose=0) as writer:
        for sample in samples:
            writer.write(sample)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images in three shards, the value of each its number."""
    root = tmp_path_factory.mktemp("shards")
    forms = [("png", "png"), ("jpg", "jpeg"), ("webp", "webp")]
    samples = [
        {
            "__key__": f"part/{i:04}",
            forms[i % 3][0]: picture(i * 10, forms[i % 3][1]),
            "cls": i % 4,
            "txt": f"gray {i}",
            "npy": b"not read",
            "json": {"label": ["dark", "light"][i // 12], "url": "http://x"},
        }
        for i in range(NUMBER)
    ]
    write(root / "gray-train-%06d.tar", samples)
    return root


def test_files_of_the_real_writer_are_read(folder: Path) -> None:
    dataset = open_dataset(f"shards:{folder}")
    assert len(dataset) == NUMBER and dataset.labels == ["0", "1", "2", "3"]
    assert dataset.targets() == [i % 4 for i in range(NUMBER)]
    assert dataset.captions[17] == "gray 17"
    assert [round(float(dataset.read(i).float().mean())) for i in range(NUMBER)] == [
        i * 10 for i in range(NUMBER)
    ]
    assert dataset.name(11) == f"{folder}/gray-train-000001.tar/part/0011.webp"
    assert dataset.inventory is not None
    assert dataset.inventory.left_aside.suffixes == {".npy": NUMBER}
    part = dataset.subset([23, 2])
    assert (part.key(0), part.targets(), part.read(0)[0, 0, 0]) == ("part/0023", [3, 2], 230)


def test_patterns_and_options(folder: Path) -> None:
    for pattern, length in (("gray-train-{000000..000001}.tar", 20), ("*-0000{01,02}.tar", 14)):
        assert len(open_dataset(f"shards:{folder}/{pattern}")) == length
    assert open_dataset(f"shards:{folder}?label=label").labels == ["dark", "light"]
    assert list(expand_braces("{9..11}-{a,b}")) == ["9-a", "9-b", "10-a", "10-b", "11-a", "11-b"]
    for pattern, message in (
        ("gray-train-{000000..000003}.tar", "no tar file .*000003.tar"),
        ("{0..99999999}.tar", "100,000,000 files, more than 100,000"),
        ("*.gz", "no tar files at"),
        ("*.tar?lable=cls", "Did you mean 'label'"),
        ("*.tar?image=gif", "holds no images, but cls, json, npy, png"),
    ):
        with pytest.raises(VitrailError, match=message):
            open_dataset(f"shards:{folder}/{pattern}")
    assert absolute_name("shards:a/*.tar") == f"shards:{Path.cwd()}/a/*.tar"


def entries(root: Path, *samples: dict[str, bytes], name: str = "a.tar") -> Path:
    """Members → a tar file as any tar program writes it."""
    with tarfile.open(root / name, "w") as archive:
        for sample in samples:
            for member, content in sample.items():
                header = tarfile.TarInfo(member)
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
    return root / name


def picture_entry(name: str) -> bytes:
    """The header and the content of an image in a tar file."""
    content = picture(1)
    header = tarfile.TarInfo(name)
    header.size = len(content)
    return header.tobuf() + content + bytes(-len(content) % 512)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_other_programs_write(tmp_path: Path, form: int) -> None:
    long = "猫" * 40 if form != tarfile.USTAR_FORMAT else "c" * 90
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        for name, content in (
            (f"./{long}/0.png", picture(9)),
            (f"./{long}/0.cls", b"cat\n"),
            (f"./{long}/._0.png", b"of a Mac"),
            ("__meta__/1.png", b"of WebDataset"),
            ("../../evil.PNG", picture(8)),
            ("../../evil.cls", b"dog"),
        ):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    dataset = open_dataset(f"shards:{tmp_path}")
    assert dataset.labels == ["cat", "dog"] and len(dataset) == 2
    assert dataset.name(0).endswith(f"a.tar/./{long}/0.png") and int(dataset.read(1).max()) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar"]


def test_labels_captions_and_splits(tmp_path: Path) -> None:
    def sample(number: int, **record: Any) -> dict[str, bytes]:
        return {f"{number}.png": picture(number), f"{number}.json": json.dumps(record).encode()}

    (tmp_path / "labels").mkdir()
    entries(tmp_path / "labels", sample(0, labels=["b", "a"]), sample(1, labels=[]), name="0.tar")
    dataset = open_dataset(f"shards:{tmp_path}/labels")
    assert dataset.target == "labels" and dataset.labels == ["a", "b"]
    assert dataset.truth().tolist() == [[1, 1], [0, 0]]
    (tmp_path / "labels" / "classes.txt").write_text("c\nb\na\n")
    dataset = open_dataset(f"shards:{tmp_path}/labels")
    assert dataset.labels == ["c", "b", "a"] and dataset.truth().tolist() == [[0, 1, 1], [0, 0, 0]]

    for split, numbers in (("train", (1, 2)), ("test", (3,))):
        (tmp_path / "numbers" / split).mkdir(parents=True)
        samples = (sample(n, numbers={"x": n / 2}, caption=f"{n}", weight=n) for n in numbers)
        entries(tmp_path / "numbers" / split, *samples)
    parts = open_parts(f"shards:{tmp_path}/numbers")
    train = parts["train"]()
    assert list(parts) == ["train", "test"] and train.target == "numbers"
    assert train.truth().tolist() == [[0.5], [1.0]] and train.captions == ["1", "2"]
    assert train.weights is not None and train.weights.tolist() == [1, 2]

    entries(tmp_path, {"0.png": picture(1), "0.cls": b"1"}, name="train.tar")
    (tmp_path / "dataset.json").write_text('{"labels": ["1", "0"]}')
    dataset = open_dataset(f"shards:{tmp_path}/train.tar")
    assert dataset.labels == ["1", "0"] and dataset.targets() == [1]
    entries(tmp_path, {"0.png": picture(1), "0.cls": b"2"}, name="train.tar")
    with pytest.raises(DataError, match="class '2' is none of the 2"):
        open_dataset(f"shards:{tmp_path}/train.tar")
    entries(tmp_path, {"0.png": picture(1)}, name="train.tar")
    assert open_dataset(f"shards:{tmp_path}/train.tar").labels == []
    with pytest.raises(DataError, match="b.tar is of no split"):
        entries(tmp_path, name="b.tar")
        open_dataset(f"shards:{tmp_path}/*.tar")


def test_damage_is_one_line(tmp_path: Path) -> None:
    whole = entries(tmp_path, {"0.png": picture(1), "0.json": b"{}"}).read_bytes()
    header = tarfile.TarInfo("0.cls")
    header.size = 2**60
    huge = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    endless = tarfile.TarInfo("0.png")
    endless.size = 2**80
    long_name = tarfile.TarInfo("x")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 2**33
    cases = {
        b"": "ends before byte 512",
        whole[:700]: "ends before byte 1,536, in its middle",
        whole[:1024]: "ends before byte 1,536, in its middle",
        b"x" * 512: "no tar file, or damaged at byte 0",
        whole[:100] + b"9" + whole[101:]: "damaged at byte 0",
        gzip.compress(whole): "is compressed",
        bytes(huge): "0.cls has 1,152,921,504,606,846,976 bytes",
        endless.tobuf(tarfile.GNU_FORMAT): "ends before byte 1,208,925,819,614,629,174,707,200",
        long_name.tobuf(tarfile.GNU_FORMAT): "damaged at byte 0",
        whole[:1024] + whole: "0.png is there twice",
        whole[:2048] + picture_entry("1.png") + whole: "the key '0' is there twice",
        whole.replace(b"{}", b"{{"): "0.json is no JSON",
    }
    for data, message in cases.items():
        (tmp_path / "a.tar").write_bytes(data)
        with pytest.raises(DataError, match=message) as problem:
            open_dataset(f"shards:{tmp_path}/a.tar")
        assert "\n" not in str(problem.value)


def test_what_is_damaged_or_missing_is_left_out_on_request(tmp_path: Path) -> None:
    whole = entries(tmp_path, *({f"{i}.png": picture(i), f"{i}.cls": b"1"} for i in range(3)))
    data = whole.read_bytes()
    whole.rename(tmp_path / "train-0.tar")
    (tmp_path / "train-1.tar").write_bytes(data[:2700])  # in the middle of the second sample
    # Two samples, and the first of them again.
    (tmp_path / "train-2.tar").write_bytes(data[:4096] + data[:2048] + bytes(1024))
    pattern = f"shards:{tmp_path}/train-{{0..3}}.tar"
    with pytest.raises(DataError, match=r"train-1.tar: ends before byte .*, and 2 more: mend") as e:
        open_dataset(pattern)
    assert "\n" not in str(e.value)
    dataset = open_dataset(pattern, bad_images="skip")
    assert [dataset.name(i).removeprefix(f"{tmp_path}/") for i in range(len(dataset))] == [
        "train-0.tar/0.png", "train-0.tar/1.png", "train-0.tar/2.png", "train-1.tar/0.png",
        "train-2.tar/0.png", "train-2.tar/1.png",
    ]  # fmt: skip
    reasons = {Path(bad.name).name: bad.reason for bad in dataset.bad_images}
    assert list(reasons) == ["train-1.tar", "train-2.tar", "train-3.tar"]
    assert reasons["train-2.tar"] == "the key '0' is there twice: write the shard again"
    assert reasons["train-3.tar"] == "no tar file 'train-3.tar' is there: add it"
    assert len(open_dataset(pattern, "all", bad_images="skip").bad_images) == 3
    (tmp_path / "val-0.tar").write_bytes(b"")
    with pytest.raises(DataError, match="val-0.tar: ends before byte 512"):  # nothing is left
        open_parts(f"shards:{tmp_path}")


def test_a_text_that_is_too_long_costs_its_own_sample_only(tmp_path: Path) -> None:
    long = {"1.txt": b"a" * (2**20 + 1), "1.png": picture(1)}
    path = entries(tmp_path, {"0.png": picture(0)}, long, {"2.png": picture(2), "2.txt": b"two"})
    with pytest.raises(DataError, match=r"a.tar: 1.txt has 1,048,577 bytes, and 1,048,576 are the"):
        open_dataset(f"shards:{path}")
    dataset = open_dataset(f"shards:{path}", bad_images="skip")
    assert [dataset.key(i) for i in range(len(dataset))] == ["0", "2"]
    assert dataset.captions == ["", "two"]


def test_a_description_is_read_up_to_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = entries(tmp_path, {"0.png": picture(0), "0.cls": b"0"})
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": ["cat"]}))
    assert open_dataset(f"shards:{path}").labels == ["cat"]
    monkeypatch.setattr(shard_description, "LARGEST", 9)
    with pytest.raises(DataError, match=r"dataset.json has more than 0 MiB"):
        open_dataset(f"shards:{path}")


def test_an_index_is_kept_outside_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    path = entries(tmp_path / "data", {"0.png": picture(1)}, {"1.png": picture(2)})
    open_dataset(f"shards:{path}")
    [kept] = (tmp_path / "cache" / "shards").iterdir()
    kept.write_text(kept.read_text().replace("1.png", "kept.png"))
    assert open_dataset(f"shards:{path}").name(1) == f"{path}/kept.png"
    kept.write_text("damaged")
    assert open_dataset(f"shards:{path}").name(1) == f"{path}/1.png"
    entries(tmp_path / "data", {"2.png": picture(1)})
    os.utime(path, ns=(1, 1))
    dataset = open_dataset(f"shards:{path}")
    assert dataset.name(0) == f"{path}/2.png"
    assert [file.name for file in path.parent.iterdir()] == ["a.tar"]
    path.write_bytes(path.read_bytes()[:540])
    with pytest.raises(DataError, match="2.png: "):
        dataset.read(0)


@pytest.mark.parametrize("length", [NUMBER, 19])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_epoch_has_every_sample_once_over_processes_and_workers(
    folder: Path, workers: int, length: int
) -> None:
    dataset = open_dataset(f"shards:{folder}").subset(range(length))

    def batches(rank: int, workers: int, start: int = 0) -> list[list[int]]:
        # What remains is dealt out in evaluation, and left out of an epoch of training.
        loader = Loader(dataset, 6, canvas(4), seed=3, workers=workers, shard=(rank, 2),
                        deals=length == 19)  # fmt: skip
        return [batch.indices.tolist() for batch in loader.epoch(1, start)]

    ranks = [batches(rank, workers) for rank in range(2)]
    assert sorted(index for rank in ranks for b in rank for index in b) == list(range(length))
    if workers != 1:  # an epoch that is entered in its middle, at another number of workers
        start = 2 if length == NUMBER else 1
        assert batches(1, 3 - workers, start)[-1] == ranks[1][-1]
    if length == 19:
        return
    assert ranks[0] != [batch.tolist() for batch in torch.arange(length).split(3)]
