"""Balanced orders: each class equally often, the same order from the same seed."""

import gc
import multiprocessing

import pytest
import torch
from torch.utils.data import _utils

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


def test_processes_end_at_once_where_an_error_holds_their_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = torch.zeros(100, 1, 8, 8, dtype=torch.uint8)
    dataset = InMemoryDataset(images, CLASSES, ["a", "b", "c"])
    loader = Loader(dataset, 2, lambda image: image[:, :4, :4], workers=1)
    killed = list[int | None]()
    batches = loader.epoch()
    next(batches)
    assert multiprocessing.active_children()
    cycle: list[object] = [batches, loader]
    cycle.append(cycle)
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 2.0)  # a process waits for five
    terminate = "multiprocessing.process.BaseProcess.terminate"
    monkeypatch.setattr(terminate, lambda self: killed.append(self.pid))
    del loader, batches, cycle
    gc.collect()
    assert not killed
