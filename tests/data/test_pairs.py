"""Datasets of pairs in memory: labels, channels, splits, and what is no pair."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vitrail.data.pairs import PairDataset, as_dataset, as_parts, names_dataset, open_split
from vitrail.data.registry import PACKAGED
from vitrail.data.splits import split_off
from vitrail.errors import DataError

BLACK = torch.zeros(3, 5, 4, dtype=torch.uint8)


def test_labels_are_names_or_indices() -> None:
    named = PairDataset([(BLACK, "dog"), (BLACK, "cat"), (BLACK, "dog")])
    assert (named.labels, named.targets()) == (["cat", "dog"], [1, 0, 1])
    counted = PairDataset([(BLACK, 2), (BLACK, torch.tensor(0))])
    assert (counted.labels, counted.targets()) == (["0", "1", "2"], [2, 0])
    ordered = PairDataset([(BLACK, "cat")], labels=["dog", "cat"])
    assert (ordered.labels, ordered.targets()) == (["dog", "cat"], [1])


class Torchvision:
    """A dataset with `classes` and `targets`, as torchvision has them: no image is read for its
    label."""

    def __init__(self) -> None:
        self.classes, self.targets = ["cat", "dog"], [1, 0, 1]
        self.reads: list[int] = []

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.reads.append(index)
        return BLACK + index, self.targets[index]


def test_torchvisions_datasets() -> None:
    samples = Torchvision()
    dataset = as_dataset(samples)
    assert (dataset.labels, dataset.targets()) == (["cat", "dog"], [1, 0, 1])
    assert set(samples.reads) <= {0}
    part = dataset.subset([2, 1])
    assert part.targets() == [1, 0]
    assert [int(part.read(i)[0, 0, 0]) for i in range(2)] == [2, 1]
    assert part.labels == ["cat", "dog"] and part.subset([1]).targets() == [0]


def test_gray_pictures_stay_gray() -> None:
    gray = PairDataset([(Image.new("L", (4, 5)), 0), (Image.new("L", (4, 5)), 1)])
    assert gray.read(0).shape == (1, 5, 4) and gray.channels == 1
    assert gray.subset([1]).statistics == gray.statistics
    assert PairDataset([(Image.new("RGBA", (4, 5)), 0)]).read(0).shape == (3, 5, 4)
    assert PairDataset([(BLACK[:1], 0)]).channels == 1
    mixed = PairDataset([(BLACK, 0), (Image.new("L", (4, 5)), 1)])
    assert mixed.subset([1]).read(0).shape == (3, 5, 4)  # as in the whole


def test_a_fifth_of_each_class_is_held_out() -> None:
    pairs = [(BLACK + i, "cat" if i % 2 else "dog") for i in range(20)]
    train, test = split_off(as_parts(pairs)["train"]())
    assert (len(train), len(test)) == (16, 4)
    assert sorted(test.targets()) == [0, 0, 1, 1]
    pixels = {int(part.read(i)[0, 0, 0]) for part in (train, test) for i in range(len(part))}
    assert pixels == set(range(20))


def test_parts_by_name_and_by_position(tmp_path: Path) -> None:
    train, test = [(BLACK, "a"), (BLACK, "b")] * 2, [(BLACK, "a"), (BLACK, "b")]
    named = {
        ("train", "test"): (train, test),
        ("train", "val"): {"train": train, "validation": test},
        ("train", "val", "test"): (train, test, test),
        ("val", "test"): {"dev": test, "Testing": test},
    }
    for splits, data in named.items():
        assert tuple(as_parts(data)) == splits
        assert len(open_split(data)[1]) == 2 and open_split(data)[0] == splits[-1]
        assert len(open_split(data, "all")[1]) == (4 if "train" in splits else 0) + 2 * sum(
            split != "train" for split in splits
        )
    assert len(open_split(named["train", "test"], "train", limit=2)[1]) == 2
    assert len(open_split(train)[1]) == 4
    with pytest.raises(DataError, match="memory has no split 'test': it has 'train'"):
        open_split(train, "test")
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(5):
            Image.new("RGB", (4, 4)).save(tmp_path / label / f"{number}.png")
    split, dataset = open_split(tmp_path)
    assert (split, len(dataset)) == ("all", 10)


def test_every_name_of_a_dataset() -> None:
    assert all(names_dataset(name) for name in PACKAGED)
    assert names_dataset("folder:x") and names_dataset("captions:x")
    assert not names_dataset("photo.jpg") and not names_dataset("c:photo.jpg")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "data is empty: give a name"),
        (3, "data is of int: give a name"),
        (["a.jpg"], "data holds str at 0: give a name"),
        ([(BLACK, "a", 1)], "data holds tuple at 0"),
        ([(BLACK, None)], "memory: labels are of NoneType: give class names, or indices"),
        ([(BLACK, "a"), (BLACK, 1)], "memory: labels are of int, str"),
        ([(BLACK, -1)], "memory: labels are -1 to -1, and 0 classes"),
    ],
)
def test_what_is_no_dataset(samples: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_dataset(samples)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(3, 5, 4), r"memory\[0\]: image tensor of torch.float32"),
        (
            BLACK.numpy(),
            r"memory\[0\]: an object of type ndarray is no image: give a path, a Pillow image",
        ),
        ("nowhere.jpg", "nowhere.jpg: cannot be read"),
    ],
)
def test_what_is_no_image(image: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        PairDataset([(image, "a")]).read(0)


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(DataError, match="memory: the label 'cow' is none of cat, dog"):
        PairDataset([(BLACK, "cow")], labels=["cat", "dog"])


def test_a_mapping_has_a_training_split() -> None:
    with pytest.raises(DataError, match="data has batch_size, no 'train'"):
        as_parts({"batch_size": 3})


def test_lists_of_names_are_several_labels_and_fractions_are_numbers() -> None:
    black = torch.zeros(3, 4, 4, dtype=torch.uint8)
    several = PairDataset([(black, ["dog", "cat"]), (black, []), (black, ("cat",))])
    assert (several.target, several.labels) == ("labels", ["cat", "dog"])
    assert several.values is not None
    assert several.values.tolist() == [[1, 1], [0, 0], [1, 0]]
    part = several.subset([2, 0])
    assert part.values is not None
    assert (part.target, part.values.tolist()) == ("labels", [[1, 0], [1, 1]])
    ages = PairDataset([(black, 0.5), (black, 2)])
    assert ages.values is not None
    assert (ages.target, ages.values.tolist()) == ("numbers", [[0.5], [2]])
    assert PairDataset([(black, 0.0), (black, 1.0)]).targets() == [0, 1]  # indices, as before


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["cat"], [3]], "3 is no label: give a list of names"),
        ([0.5, "cat"], "some labels are numbers and some are not"),
        ([0.5, float("nan")], "a number is not finite"),
        ([0.5, 10**400], "some labels are numbers and some are not"),
    ],
)
def test_labels_of_mixed_kinds_are_refused(labels: list[object], message: str) -> None:
    black = torch.zeros(3, 4, 4, dtype=torch.uint8)
    with pytest.raises(DataError, match=message):
        PairDataset([(black, label) for label in labels])
