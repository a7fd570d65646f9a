"""Tar shards from strangers: labels, weights and files beside them that are none."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.security.refusal import outcome
from vitrail.data.image_folders import open_captioned
from vitrail.data.registry import open_dataset

DIGITS = b"1" + b"0" * 400


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_shard(folder: Path, records: list[bytes]) -> Path:
    """A shard of one image per record."""
    folder.mkdir()
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, "PNG")
    with tarfile.open(folder / "a.tar", "w") as archive:
        for number, record in enumerate(records):
            for suffix, data in (("png", stream.getvalue()), ("json", record)):
                member = tarfile.TarInfo(f"{number:04}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return folder


def open_shards(folder: Path) -> list[str]:
    dataset = open_dataset(f"shards:{folder}")
    return list(dataset.labels)


@pytest.mark.parametrize("weight", [DIGITS, b"Infinity", b"NaN", b"-1", b"1e999"], ids=repr)
def test_weights_that_no_mean_can_have(weight: bytes, tmp_path: Path) -> None:
    good = [json.dumps({"label": label}).encode() for label in "ab"]
    bad = b'{"label": "a", "weight": ' + weight + b"}"
    problem = outcome(lambda: open_shards(write_shard(tmp_path / "shards", [*good, bad])))
    assert "has a weight that is not from 0 to 1e+30" in str(problem)


def test_labels_of_two_kinds_and_halves_of_characters(tmp_path: Path) -> None:
    for name, label, expected in (
        ("list", ["a", "b"], ["a", "b", "x y"]),
        ("half", "\ud800", ["\\ud800", "x y"]),
    ):
        records = [json.dumps({"label": value}).encode() for value in (label, "x y")]
        assert open_shards(write_shard(tmp_path / name, records)) == expected
    table = tmp_path / "metadata.jsonl"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    table.write_text(2 * (json.dumps({"file_name": "a.png", "text": "\ud800 cat"}) + "\n"))
    assert outcome(lambda: open_captioned(str(tmp_path))["train"]()) is None


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize("name", ["dataset.json", "classes.txt", "b.tar"])
def test_what_is_no_regular_file(kind: str, name: str, tmp_path: Path) -> None:
    records = [json.dumps({"label": label}).encode() for label in "ab"]
    file = write_shard(tmp_path / "shards", records) / name
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        file.mkdir()
    problem = outcome(lambda: open_shards(file.parent))
    assert (problem is not None) == (name == "b.tar")  # the others are for names only
