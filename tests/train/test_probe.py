"""Probes against what they are defined as, and against scikit-learn."""

import math

import pytest
import torch
from torch import Tensor

from vitrail.errors import ConfigError
from vitrail.train import probe


def clusters(count: int, dim: int = 6, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping clouds of points, on features of unlike scales and offsets."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99)).double()
    labels = torch.arange(count) % classes
    points = centres[labels] + torch.randn(count, dim, generator=generator).double()
    return points * torch.logspace(-2, 2, dim).double() + 3, labels


def test_knn_is_its_definition() -> None:
    bank, queries = torch.randn(40, 5).double(), torch.randn(7, 5).double()
    labels = torch.arange(40) % 4
    found = probe.knn(bank, labels, queries, classes=4, k=6, temperature=0.1)
    for query, got in zip(queries, found, strict=True):
        cosines = [float(query @ x / query.norm() / x.norm()) for x in bank]
        votes = [0.0] * 4
        for index in sorted(range(40), key=lambda i: -cosines[i])[:6]:
            votes[int(labels[index])] += math.exp(cosines[index] / 0.1)
        assert got.tolist() == pytest.approx([v / sum(votes) for v in votes], abs=1e-12)


def test_knn_in_chunks_is_the_same_and_k_is_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, labels = clusters(50)
    queries, _ = clusters(21, seed=1)
    whole = probe.knn(bank, labels, queries, 3)
    monkeypatch.setattr(probe, "CHUNK", 150)  # three queries at a time
    torch.testing.assert_close(probe.knn(bank, labels, queries, 3), whole)
    every = probe.knn(bank, labels, queries, 3, k=50)
    torch.testing.assert_close(probe.knn(bank, labels, queries, 3, k=1000), every)
    assert probe.knn(bank, labels, bank, 3, k=1).argmax(1).equal(labels)


def test_linear_equals_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    bank, labels = clusters(120)
    queries, _ = clusters(30, seed=1)
    for strength in (1.0, 1e-2, 1e-4):
        scaler = StandardScaler().fit(bank.numpy())
        theirs = LogisticRegression(C=1 / (strength * 120), tol=1e-10, max_iter=10_000)
        theirs.fit(scaler.transform(bank.numpy()), labels.numpy())
        expected = theirs.predict_proba(scaler.transform(queries.numpy()))
        ours = probe.linear(bank, labels, queries, 3, strength).softmax(1)
        torch.testing.assert_close(ours, torch.from_numpy(expected), atol=2e-5, rtol=0)


def test_the_penalty_is_chosen_for_what_was_not_seen() -> None:
    """With far more noise than images a weak penalty only learns by heart."""
    labels = torch.arange(400) % 2
    noise = torch.randn(400, 60)
    noise[:, 0] += 2.5 * labels
    fitted = probe.fit(noise[:60], labels[:60], 2)
    assert fitted.strength >= 1e-1
    rates = {
        s: (probe.fit(noise[:60], labels[:60], 2, s)(noise[60:]).argmax(1) == labels[60:])
        .double()
        .mean()
        for s in (fitted.strength, 1e-5)
    }
    assert rates[fitted.strength] > rates[1e-5]
    clean = torch.eye(3).repeat(20, 1)
    assert probe.linear(clean, torch.arange(60) % 3, clean, 3).argmax(1).equal(torch.arange(60) % 3)


def test_odd_banks() -> None:
    bank = torch.eye(4)
    assert probe.fit(bank, torch.arange(4), 4).strength == probe.STRENGTHS[3]  # one a class
    constant = torch.cat([bank.repeat(5, 1), torch.full((20, 1), 7.0)], dim=1)
    labels = torch.arange(4).repeat(5)
    assert probe.linear(constant, labels, constant, 6).argmax(1).equal(labels)  # two unseen
    half = probe.linear(constant.bfloat16(), labels, constant.bfloat16(), 4)
    assert half.dtype == torch.float32
    with torch.inference_mode():
        probe.linear(constant, labels, constant, 4)
    with pytest.raises(ConfigError, match=r"bank \(20, 5\) cannot judge queries \(3, 4\)"):
        probe.knn(constant, labels, torch.zeros(3, 4), 4)
    with pytest.raises(ConfigError, match="one each"):
        probe.linear(constant, labels[:4], constant, 4)
    with pytest.raises(ConfigError, match="k=0 is not at least 1"):
        probe.knn(constant, labels, constant, 4, k=0)
    with pytest.raises(ConfigError, match="temperature=0 is not above 0"):
        probe.knn(constant, labels, constant, 4, temperature=0)
