"""The evaluator of a run, by itself."""

import contextlib

import pytest
import torch
from torch import Tensor

from tests.cli.conftest import digits_model
from vitrail.data.loader import Loader
from vitrail.data.registry import open_dataset
from vitrail.train import evaluator
from vitrail.train.evaluator import Evaluator, evaluate_probe

VOTES = torch.tensor([0.7, 0.3, *[0.0] * 8])


def votes(bank: Tensor, labels: Tensor, queries: Tensor, classes: int, k: int) -> Tensor:
    return VOTES.expand(len(queries), classes)


def test_votes_of_neighbors_are_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "knn", votes)
    digits, model = open_dataset("digits", limit=30), digits_model().eval()
    loader = Loader(digits, 16, lambda image: image)
    evaluated = Evaluator(digits, loader, model.preprocess, stream=None)  # type: ignore[arg-type]
    of_run = evaluated.by_knn(model)
    assert of_run is not None
    quiet = lambda title: contextlib.nullcontext(lambda done, total: None)  # noqa: E731
    of_probe, _ = evaluate_probe(model, "knn", loader, loader, quiet)
    for result in (of_run, of_probe):
        torch.testing.assert_close(result.probabilities[0], VOTES, atol=1e-3, rtol=0)
        assert 0 < result.probabilities.min() < 1e-3  # unlikely, not impossible
