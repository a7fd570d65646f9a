"""Layouts of folders: which folder is a split, which a class, and what is left aside."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from vitrail.data.folders import FolderLayout, find_layout, scan, split_name
from vitrail.data.image_folders import open_folder, open_names
from vitrail.errors import DataError
from vitrail.files import to_json


def is_png(path: Path) -> bool:
    return path.suffix == ".png"


def found(root: Path, *names: str) -> FolderLayout:
    """The layout of a folder with these files; "cat/*" stands for two images."""
    for name in names:
        pair = [name.replace("*", "1.png"), name.replace("*", "2.png")]
        for file in pair if "*" in name else [name]:
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return find_layout(root, is_png)


def classes(layout: FolderLayout) -> dict[str, list[str]]:
    return {split: list(classes) for split, classes in layout.splits.items()}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "Valid", "Eval"),
        ("training_set", "dev", "test-set"),
        ("seg_train", "seg_dev", "seg_test"),
        ("train2017", "val2017", "test2017"),
        ("trainset", "valset", "testset"),
    ],
)
def test_splits_by_any_name(tmp_path: Path, train: str, val: str, test: str) -> None:
    names = [f"{split}/{name}/*" for split in (train, val, test) for name in ("cat", "dog")]
    layout = found(tmp_path, *names)
    assert classes(layout) == {s: ["cat", "dog"] for s in ("train", "val", "test")}
    assert [path.name for path in layout.folders.values()] == [train, val, test]


def test_one_or_two_splits(tmp_path: Path) -> None:
    assert list(found(tmp_path / "a", "Train/a/*", "Train/b/*", "Val/a/*").splits) == [
        "train", "val",
    ]  # fmt: skip
    assert list(found(tmp_path / "b", "val/a/*", "test/a/*").splits) == ["val", "test"]
    assert list(found(tmp_path / "c", "train/a/*", "test/a/*", "eval/a/*").splits) == [
        "train", "val", "test",
    ]  # fmt: skip
    unlabelled = found(tmp_path / "d", "train/a/*", "train/b/*", "test1/*")
    assert list(unlabelled.splits) == ["train"] and unlabelled.left_aside.folders == {"test1": 2}


def test_classes_that_are_called_like_splits(tmp_path: Path) -> None:
    layout = found(tmp_path, "bus/*", "train/*", "test/*")
    assert classes(layout) == {"all": ["bus", "test", "train"]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["Training/*", "Testing/*"], "Testing, Training in .* look like splits"),
        (["train/a/*", "Training/a/*"], "'Training' and 'train' in .* both look like the train"),
        (["bus/*", "train/steam/*", "train/diesel/*"], "'train' in .* looks like a split, and bus"),
        (["2019/a/*", "2019/b/*", "2020/a/*", "2020/b/*"], "hold the same folders .a, b.*2020"),
        (["train/x/a/*", "train/x/b/*", "train/y/a/*", "train/y/b/*", "val/a/*"], "'x' and 'y'"),
    ],
)
def test_what_may_mean_two_things_is_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        found(tmp_path, *names)
    assert (
        ", as folder:" in str(caught.value)
        or "rename" in str(caught.value)
        or "table:" in str(caught.value)
    )


def test_folders_of_archives_are_opened(tmp_path: Path) -> None:
    kaggle = found(
        tmp_path / "chest",
        "chest/train/a/*", "chest/train/b/*", "chest/test/a/*", "__MACOSX/chest/train/a/._1.png",
    )  # fmt: skip
    assert classes(kaggle) == {"train": ["a", "b"], "test": ["a"]}
    assert kaggle.root == tmp_path / "chest" / "chest" and kaggle.left_aside.hidden == 1
    inner = found(tmp_path / "x", "training_set/training_set/a/*", "test_set/test_set/a/*")
    assert classes(inner) == {"train": ["a"], "test": ["a"]}
    assert classes(found(tmp_path / "cat", "cat/*")) == {"all": ["cat"]}


def test_a_folder_of_classes_inside_another_is_opened(tmp_path: Path) -> None:
    layout = found(tmp_path, "photos/cat/*", "photos/dog/*", "__MACOSX/photos/cat/._1.png")
    assert (layout.root, classes(layout)) == (tmp_path / "photos", {"all": ["cat", "dog"]})
    one = found(tmp_path / "other", "cat/*", "cat/indoors/*", "cat/outdoors/*")
    assert classes(one) == {"all": ["cat"]}


def test_what_is_left_aside_is_counted(tmp_path: Path) -> None:
    layout = found(
        tmp_path,
        "cat/*", "cat/deep/*", "cat/a.heic", "cat/b.HEIC", "dog/*", "stray.png", "notes.txt",
        "cat/.ipynb_checkpoints/1-checkpoint.png", "cat/._1.png", "@eaDir/cat/1.png", "Thumbs.db",
        ".git/1.png",
    )  # fmt: skip
    (tmp_path / "fox").mkdir()
    layout = find_layout(tmp_path, is_png)
    assert {name: len(files) for name, files in layout.splits["all"].items()} == {
        "cat": 4, "dog": 2,
    }  # fmt: skip
    rest = layout.left_aside
    assert (rest.suffixes, rest.empty, rest.beside) == ({".heic": 2, ".txt": 1}, ["fox"], 1)
    assert rest.hidden == 5 and rest.folders == {}
    stored = json.loads(to_json(dataclasses.asdict(layout.inventory)))  # as a run keeps it
    assert stored["left_aside"]["suffixes"] == {".heic": 2, ".txt": 1}


def test_the_root_itself_may_be_hidden(tmp_path: Path) -> None:
    assert classes(found(tmp_path / ".cache" / "pets", "cat/*", "dog/*")) == {"all": ["cat", "dog"]}


def test_links_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    found(tmp_path / "real", "dog/*", "dog/more/*")
    root = tmp_path / "pets"
    found(root, "dog/3.png", "cat/*")
    (root / "dog" / "batch1").symlink_to(tmp_path / "real" / "dog")
    (root / "owl").symlink_to(tmp_path / "real" / "dog")
    (root / "dog" / "up").symlink_to(root)
    (root / "cat" / "nowhere.png").symlink_to("nowhere")
    layout = find_layout(root, is_png)
    counts = {name: len(files) for name, files in layout.splits["all"].items()}
    assert counts == {"cat": 3, "dog": 5, "owl": 4}


def test_only_files_are_samples(tmp_path: Path) -> None:
    found(tmp_path, "cat/*", "dog/*", "dog/album.png/1.png")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    layout = find_layout(tmp_path, is_png)
    assert {name: len(files) for name, files in layout.splits["all"].items()} == {
        "cat": 2, "dog": 3,
    }  # fmt: skip
    assert layout.left_aside.suffixes == {".png": 1}


def test_a_folder_may_be_one_sample(tmp_path: Path) -> None:
    found(tmp_path, "run/clip1/*", "run/clip2/*", "walk/clip3/*", "walk/4.png")
    layout = find_layout(tmp_path, is_png, lambda folder: folder.name.startswith("clip"))
    names = {name: [path.name for path in files] for name, files in layout.splits["all"].items()}
    assert names == {"run": ["clip1", "clip2"], "walk": ["4.png", "clip3"]}


def test_the_order_is_that_of_paths(tmp_path: Path) -> None:
    found(tmp_path, "b/*", "a.png", "a/2.png", "c.png", "a/b/1.png")
    tree, _ = scan(tmp_path, lambda name: name.endswith(".png"))
    assert tree.walk() == list(map(str, sorted(tmp_path.rglob("*.png"))))


@pytest.mark.parametrize("name", ["cat", "trainer", "testudo", "train test", "valley", "1", ""])
def test_other_names_are_no_splits(name: str) -> None:
    assert split_name(name) is None


def test_a_table_or_an_archive_in_the_place_of_classes_is_named(tmp_path: Path) -> None:
    for name in ("leaf/images/1.png", "leaf/images/2.png", "leaf/train.csv", "pets.zip"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=f"a table: write table:{tmp_path}/leaf/train.csv, if"):
        open_folder(str(tmp_path / "leaf"))["train"]()
    with pytest.raises(DataError, match=r"pets.zip' is a file, and no folder: unpack it, and give"):
        open_folder(str(tmp_path / "pets.zip"))
    with pytest.raises(DataError, match=r"is a file, and no folder: write table:.*train.csv, if"):
        open_folder(str(tmp_path / "leaf" / "train.csv"))
    (tmp_path / "leaf" / "images").rename(tmp_path / "leaf" / "cat")
    assert open_folder(str(tmp_path / "leaf"))["train"]().labels == ["cat"]


def test_an_archive_that_holds_itself_once_more_is_used_once(tmp_path: Path) -> None:
    """Kaggle's flowers/daisy, flowers/rose ... flowers/flowers/daisy, flowers/flowers/rose."""
    layout = found(tmp_path, *(f"{inner}{name}/*" for inner in ("", "all/") for name in "abc"))
    assert classes(layout) == {"all": ["a", "b", "c"]}
    assert layout.left_aside.folders == {"all": 6}
    other = found(tmp_path / "x", "a/*", "b/*", "c/a/*", "c/d/*")
    assert classes(other) == {"all": ["a", "b", "c"]} and not other.left_aside.folders


def test_flat_splits_name_the_table_of_labels_that_is_there(tmp_path: Path) -> None:
    for name in ("train/cat.0.jpg", "test1/1.jpg", "sample_submission.csv", "train.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(
        DataError, match=rf"table:{tmp_path}/train.csv, or .* names:{tmp_path}/train"
    ):
        open_folder(str(tmp_path))


def test_names_of_files_say_the_classes(tmp_path: Path) -> None:
    for name in ("cat.0", "cat.1", "dog (12)", "dog_3", "great_pyrenees_7", "great_pyrenees_8"):
        (tmp_path / f"{name}.jpg").touch()
    with pytest.raises(
        DataError, match=f"names:{tmp_path} takes the class from names such as cat.0"
    ):
        open_folder(str(tmp_path))["train"]()
    [(split, part)] = open_names(str(tmp_path)).items()
    dataset = part()
    assert (split, dataset.labels) == ("train", ["cat", "dog", "great_pyrenees"])
    assert [dataset.key(i) for i in range(4)] == [
        "cat.0.jpg", "cat.1.jpg", "dog (12).jpg", "dog_3.jpg",
    ]  # fmt: skip
    assert dataset.targets() == [0, 0, 1, 1, 2, 2]
    (tmp_path / "12.jpg").touch()
    with pytest.raises(DataError, match=r"12.jpg says no class: names:PATH is for names such as"):
        open_names(str(tmp_path))["train"]()
