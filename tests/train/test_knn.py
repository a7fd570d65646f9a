"""k-NN against its definition."""

import math

import pytest
import torch
from torch import Tensor

from vitrail.errors import ConfigError
from vitrail.train import knn as module
from vitrail.train.knn import knn


def clusters(count: int, dim: int = 6, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping clouds of points, on features of unlike scales and offsets."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99)).double()
    labels = torch.arange(count) % classes
    points = centres[labels] + torch.randn(count, dim, generator=generator).double()
    return points * torch.logspace(-2, 2, dim).double() + 3, labels


def test_it_is_its_definition() -> None:
    bank, queries = torch.randn(40, 5).double(), torch.randn(7, 5).double()
    labels = torch.arange(40) % 4
    fractions = knn(bank, labels, queries, classes=4, k=6, temperature=0.1)
    for query, row in zip(queries, fractions, strict=True):
        cosines = [float(query @ x / query.norm() / x.norm()) for x in bank]
        votes = [0.0] * 4
        for index in sorted(range(40), key=lambda i: -cosines[i])[:6]:
            votes[int(labels[index])] += math.exp(cosines[index] / 0.1)
        assert row.tolist() == pytest.approx([v / sum(votes) for v in votes], abs=1e-12)


def test_chunks_change_nothing_and_k_is_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, labels = clusters(50)
    queries, _ = clusters(21, seed=1)
    whole = knn(bank, labels, queries, 3)
    monkeypatch.setattr(module, "CHUNK", 150)  # three queries at a time
    torch.testing.assert_close(knn(bank, labels, queries, 3), whole)
    every = knn(bank, labels, queries, 3, k=50)
    torch.testing.assert_close(knn(bank, labels, queries, 3, k=1000), every)
    assert knn(bank, labels, bank, 3, k=1).argmax(1).equal(labels)


def test_what_does_not_fit_is_refused() -> None:
    bank, labels = torch.eye(5).repeat(4, 1), torch.arange(20) % 4
    with pytest.raises(ConfigError, match=r"bank \(20, 5\) cannot classify queries \(3, 4\)"):
        knn(bank, labels, torch.zeros(3, 4), 4)
    with pytest.raises(ConfigError, match="give one each"):
        knn(bank, labels[:4], bank, 4)
    with pytest.raises(ConfigError, match="k=0 is not at least 1"):
        knn(bank, labels, bank, 4, k=0)
    with pytest.raises(ConfigError, match="temperature=0.0 is not above 0"):
        knn(bank, labels, bank, 4, temperature=0)
