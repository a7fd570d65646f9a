"""Shuffled labels are told from true ones."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from vitrail.methods.base import Batch
from vitrail.train.monitor.labels import LabelCheck, label_relation
from vitrail.train.monitor.rules import UNRELATED


def digits(shuffle: int | None = None) -> tuple[Tensor, Tensor]:
    """Images (1797, 1, 8, 8) and their labels, or the labels in another order."""
    data = load_digits()
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(9))
    images = torch.from_numpy(data.images).float()[order, None]
    labels = torch.from_numpy(data.target)[order]
    if shuffle is not None:
        labels = labels[torch.randperm(1797, generator=torch.Generator().manual_seed(shuffle))]
    return images, labels


def batches(images: Tensor, labels: Tensor) -> Iterator[Batch]:
    for start in range(0, len(images), 32):
        rows = slice(start, start + 32)
        indices = torch.arange(len(images))[rows]
        yield Batch(images=images[rows], labels=labels[rows], indices=indices)


def score(images: Tensor, labels: Tensor) -> float:
    check = LabelCheck()
    for batch in batches(images, labels):
        check.add(batch)
    result = check.score()
    assert result is not None
    return result


def mixed(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each batch mixed with itself in another order, as mixup does."""
    targets = F.one_hot(labels, 10).float()
    parts = [(0.6 * x + 0.4 * x.flip(0)) for x in images.split(32)]
    mixed_targets = [(0.6 * y + 0.4 * y.flip(0)) for y in targets.split(32)]
    return torch.cat(parts), torch.cat(mixed_targets)


def test_true_labels_are_far_from_chance() -> None:
    assert score(*digits()) > 30
    assert score(*mixed(*digits())) > 30


def test_shuffled_labels_are_chance() -> None:
    scores = [score(*digits(seed)) for seed in range(12)]
    assert max(scores) < UNRELATED
    assert abs(sum(scores) / 12) < 1
    assert max(score(*mixed(*digits(seed))) for seed in range(12)) < UNRELATED


def test_rare_classes_and_numbers_count_too() -> None:
    images, labels = digits()
    rare = (labels == 3).long() * (torch.arange(1797) % 4 == 0)  # one of 40
    assert score(images, rare) > 6
    sizes = images.mean(dim=(1, 2, 3))[:, None]  # a number per image
    assert score(images, sizes) > 20
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(1))
    assert score(images, sizes[order]) < UNRELATED


def test_the_score_is_that_of_many_orders() -> None:
    """The mean and the variance over all orders, which Hoeffding gives, beside drawn ones."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(90, 4, generator=generator).double()
    y = (x[:, :1] + 2 * torch.randn(90, 1, generator=generator)).double()
    test = torch.arange(90) % 3 == 0
    drawn = [
        label_relation(x, torch.where(test[:, None], y, y), test),
    ]
    agreements = []
    scaled = (x - x[~test].mean(0)) / x[~test].std(0)
    centered = y - y[~test].mean(0)
    gram = scaled[~test].T @ scaled[~test] + 0.01 * 90 * torch.eye(4, dtype=torch.double)
    scores = scaled[test] @ torch.linalg.solve(gram, scaled[~test].T @ centered[~test])
    for _ in range(4000):
        order = torch.randperm(30, generator=generator)
        agreements.append((scores * centered[test][order]).sum())
    chance = torch.stack(agreements)
    expected = ((scores * centered[test]).sum() - chance.mean()) / chance.std()
    assert drawn[0] == pytest.approx(expected.item(), rel=0.06)


def test_few_samples_say_nothing() -> None:
    images, labels = digits()
    check = LabelCheck()
    for batch in batches(images[:480], labels[:480]):
        check.add(batch)
    assert check.score() is None


def test_an_image_counts_once() -> None:
    """A second epoch would show the held-out images with labels that the fit has seen."""
    images, labels = digits()
    check = LabelCheck()
    for batch in [*batches(images[:640], labels[:640])] * 2:
        check.add(batch)
    assert check.count == 640
    other = LabelCheck()
    for batch in batches(images[:640], labels[:640]):
        other.add(dataclasses.replace(batch, indices=None))
    assert other.score() == pytest.approx(check.score())


def test_features_take_the_place_of_images() -> None:
    images, labels = digits()
    check = LabelCheck()
    for start in range(0, 1024, 64):
        rows = slice(start, start + 64)
        check.add(Batch(features=images[rows].flatten(1), labels=labels[rows]))
    result = check.score()
    assert result is not None
    assert result > 20
