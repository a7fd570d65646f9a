"""What people write first: archives, addresses, tables without a header. The cure works."""

from pathlib import Path

import pytest
from PIL import Image

from vitrail.data.folders import find_layout
from vitrail.data.formats import why_unknown
from vitrail.data.images import find_images
from vitrail.data.manifests import open_manifest
from vitrail.data.registry import open_parts
from vitrail.errors import DataError


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "pets" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("pets.zip", "unpack it, and write folder:pets"),
        ("labels.csv", "write table:labels.csv"),
        ("table:pets.zip", "is an archive: unpack it"),
        ("folder:https://example.com/pets.zip", "is an address, and no folder: download it"),
        ("folder:", "names nothing: write its path after the colon"),
    ],
)
def test_the_name_of_a_dataset(name: str, cure: str, pets: Path) -> None:
    for file in ("pets.zip", "labels.csv"):
        (pets / file).touch()
    with pytest.raises(DataError, match=cure):
        open_parts(name)


@pytest.mark.parametrize(
    ("text", "query", "cure"),
    [
        ("pets/cat/1.png,cat\npets/dog/3.png,dog", "", "write their names in a line above"),
        ("path,label\nhttps://x.org/1.png,cat", "", "is an address: download the files"),
        ("path,label\npets/cat/1.png,cat\npets/dog/3.png,NaN", "", "row 2 has no label"),
        ("path, cat, dog\npets/cat/1.png, 1, 0", "", r"\?labels=cat,dog"),
        ("path,cat,dog\npets/cat/1.png,1,0", "?label=cat,dog", r"\?labels=cat,dog"),
        ("id,label\n1,cat", "?root=pets/cat", r"root=pets/cat&suffix=.png'"),
    ],
)
def test_a_table(text: str, query: str, cure: str, pets: Path) -> None:
    (pets / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=cure):
        open_manifest(f"labels.csv{query}")


def test_columns_of_labels_whose_names_follow_a_space(pets: Path) -> None:
    (pets / "labels.csv").write_text("path, cat, dog\npets/cat/1.png, 1, 0\n")
    dataset = open_manifest("labels.csv?labels=cat,dog")["train"]()
    assert dataset.labels == ["cat", "dog"]
    assert dataset.values is not None
    assert dataset.values.tolist() == [[1.0, 0.0]]


def test_folders_around_the_classes_are_many(pets: Path) -> None:
    (pets / "archive" / "data").mkdir(parents=True)
    (pets / "pets").rename(pets / "archive" / "data" / "pets")
    layout = find_layout(pets / "archive", lambda path: path.suffix == ".png")
    assert [*layout.splits["all"]] == ["cat", "dog"]


def test_a_table_in_the_folder_of_a_split_is_named(pets: Path) -> None:
    (pets / "all" / "train").mkdir(parents=True)
    (pets / "all" / "train" / "_classes.csv").touch()
    (pets / "pets" / "cat" / "1.png").rename(pets / "all" / "train" / "1.png")
    with pytest.raises(DataError, match=r"table:.*train/_classes\.csv"):
        find_layout(pets / "all", lambda path: path.suffix == ".png")


def test_the_name_of_a_dataset_in_the_place_of_a_folder(pets: Path) -> None:
    with pytest.raises(DataError, match="write pets, without folder:"):
        find_images(["folder:pets"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"version https://git-lfs.github.com/spec/v1", "git lfs pull"), (b"8BPS\0\1", "convert it")],
)
def test_what_is_no_image(data: bytes, reason: str) -> None:
    assert reason in why_unknown(data)
