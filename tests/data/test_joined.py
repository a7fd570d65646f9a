"""Datasets that are joined, or whose classes are given other indices by name."""

import pytest
import torch

from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.joined import JoinedDataset, with_labels
from vitrail.data.splits import fold_numbers, split_fold, split_off
from vitrail.errors import DataError


def dataset(labels: list[str], targets: list[int]) -> InMemoryDataset:
    images = torch.arange(len(targets), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4)
    return InMemoryDataset(images, torch.tensor(targets), labels, ((0.5,), (0.5,)))


def test_classes_go_by_their_names_and_capitals_do_not_matter() -> None:
    part = with_labels(dataset(["Dog", "cat "], [0, 1, 1]), ["bird", "cat", "dog"])
    assert part.labels == ["bird", "cat", "dog"] and part.targets() == [2, 1, 1]
    exact = with_labels(dataset(["Cat", "cat"], [0, 1]), ["cat", "Cat"])
    assert exact.targets() == [1, 0]
    same = dataset(["a", "b"], [0])
    assert with_labels(same, ["a", "b"]) is same


def test_two_classes_of_one_name_are_not_mixed_up() -> None:
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    twins = InMemoryDataset(images, torch.arange(3), ["crane", "cat", "crane"])
    assert with_labels(twins, twins.labels) is twins
    with pytest.raises(DataError, match="'crane' is the name of more than one class: give each"):
        with_labels(twins, ["cat", "crane", "crane"])
    cats = InMemoryDataset(images, torch.zeros(3), ["cat"])  # which has one name only
    assert with_labels(cats, ["crane", "cat", "crane"]).targets() == [1, 1, 1]


def test_only_unknown_classes_that_occur_are_named() -> None:
    with pytest.raises(DataError) as caught:
        with_labels(dataset(["cat", "owl", "elk"], [0, 1]), [f"c{i}" for i in range(118)] + ["cat"])
    assert "unknown classes 'owl': " in str(caught.value) and "elk" not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert with_labels(dataset(["cat", "owl"], [0]), ["cat"]).targets() == [0]  # none of owl


def test_joined_samples_are_those_of_the_parts() -> None:
    one, two = dataset(["cat", "dog"], [0, 1, 1]), dataset(["owl", "cat"], [0, 1])
    joined = JoinedDataset({"train": one, "test": two})
    assert joined.labels == ["cat", "dog", "owl"] and joined.targets() == [0, 1, 1, 2, 0]
    assert [int(joined.read(i)[0, 0, 0]) for i in range(5)] == [0, 1, 2, 0, 1]
    assert joined.key(3) == "test/memory[0]" and joined.name(3) == "memory[0]"
    part = joined.subset([4, 0]).subset([0, 1])
    assert part.targets() == [0, 0] and part.key(0) == "test/memory[1]"
    assert part.read_batch(torch.tensor([1, 0]))[:, 0, 0, 0].tolist() == [0, 1]
    single = with_labels(one, ["dog", "cat"]).subset([2, 1])
    assert single.read_batch(torch.tensor([1]))[0, 0, 0, 0] == 1


def test_folds_are_even_and_hold_every_sample_once() -> None:
    samples = dataset(["a", "b", "c"], [0] * 7 + [1] * 9 + [2] * 8)
    parts = [split_fold(samples, number, 4) for number in range(1, 5)]
    assert [len(part) for _rest, part in parts] == [6] * 4
    assert [len(rest) for rest, _part in parts] == [18] * 4
    values = sorted(int(part.read(i)[0, 0, 0]) for _rest, part in parts for i in range(6))
    assert values == list(range(24))
    assert all(set(part.targets()) == {0, 1, 2} for _rest, part in parts)
    with pytest.raises(DataError, match="class 'a' has 7 images, fewer than folds=8"):
        fold_numbers(samples, 8)


def test_a_validation_split_has_limits() -> None:
    rest, part = split_off(dataset(["a"], [0] * 60_000))
    assert (len(rest), len(part)) == (55_000, 5_000)
    assert len(split_off(dataset(["a", "b"], [0] * 10 + [1] * 2))[1]) == 3
    with pytest.raises(DataError, match="class 'b' has one image, and two are needed"):
        split_off(dataset(["a", "b"], [0, 0, 1]))
    with pytest.raises(DataError, match="classes 'b', 'c' have one image, and two are needed"):
        split_off(dataset(["a", "b", "c"], [0, 0, 1, 2]))


def test_the_digest_depends_on_keys_and_labels_alone() -> None:
    one = dataset(["a", "b"], [0, 1])
    assert one.digest() == dataset(["a", "b", "c"], [0, 1]).digest()
    assert one.digest() == with_labels(one, ["b", "a"]).digest()
    assert len({d.digest() for d in (one, dataset(["a", "b"], [1, 0]), one.subset([0]))}) == 3
