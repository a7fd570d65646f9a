"""Balanced orders: each class equally often, the same order from the same seed."""

import torch

from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.loader import Loader
from vitrail.data.order import order

CLASSES = torch.tensor([0] * 70 + [1] * 25 + [2] * 5)


def test_each_class_comes_equally_often_in_an_epoch() -> None:
    indices = order(100, 0, 0, classes=CLASSES)
    assert sorted(CLASSES[indices].bincount().tolist()) == [33, 33, 34]
    counts = indices.bincount(minlength=100)
    assert counts[CLASSES == 0].max() == 1
    assert set(counts[CLASSES == 1].tolist()) == {1, 2}
    assert set(counts[CLASSES == 2].tolist()) <= {6, 7}
    runs = (CLASSES[indices].diff() != 0).sum()
    assert runs > 50, "classes come one after the other"


def test_the_class_that_comes_once_more_differs_between_epochs() -> None:
    most = {int(CLASSES[order(100, 0, e, classes=CLASSES)].bincount().argmax()) for e in range(20)}
    assert most == {0, 1, 2}


def test_a_balanced_loader_is_resumed_where_it_was_left() -> None:
    images = torch.zeros(100, 1, 4, 4, dtype=torch.uint8)
    dataset = InMemoryDataset(images, CLASSES, ["a", "b", "c"])
    loader = Loader(dataset, 8, lambda image: image, seed=3, balanced=True)
    whole = [batch.indices for batch in loader.epoch(2)]
    rest = [batch.indices for batch in loader.epoch(2, 5)]
    assert all(map(torch.equal, whole[5:], rest))
    assert not torch.equal(whole[0], next(loader.epoch(3)).indices)
    assert sorted(CLASSES[torch.cat(whole)].bincount().tolist()) == [33, 33, 34]
