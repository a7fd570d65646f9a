"""The evaluator of a run, by itself."""

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.cli.conftest import digits_model
from vitrail.data.loader import Loader
from vitrail.data.registry import open_dataset
from vitrail.data.splits import balanced
from vitrail.methods import Batch
from vitrail.train import evaluator
from vitrail.train.evaluator import Evaluator, evaluate_probe
from vitrail.train.streams import Stream

VOTES = torch.tensor([0.7, 0.3, *[0.0] * 8])


def votes(bank: Tensor, labels: Tensor, queries: Tensor, classes: int, k: int) -> Tensor:
    return VOTES.expand(len(queries), classes)


class Unneeded(Stream):
    """Batches that nobody asks for."""

    def __len__(self) -> int:
        return pytest.fail("no need")

    def epoch(self, epoch: int, start: int, device: torch.device | str) -> Iterator[Batch]:
        return pytest.fail("no need")


def test_votes_of_neighbors_are_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "knn", votes)
    digits, model = open_dataset("digits", limit=30), digits_model().eval()
    loader = Loader(digits, 16, lambda image: image)
    evaluated = Evaluator(digits, loader, model.preprocess, Unneeded())
    of_run = evaluated.by_knn(model)
    assert of_run is not None
    quiet = lambda title: contextlib.nullcontext(lambda done, total: None)  # noqa: E731
    of_probe, _ = evaluate_probe(model, "knn", loader, loader, quiet)
    for result in (of_run, of_probe):
        torch.testing.assert_close(result.probabilities[0], VOTES, atol=1e-3, rtol=0)
        assert 0 < result.probabilities.min() < 1e-3  # unlikely, not impossible


def test_classes_without_a_training_image_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    digits, model = open_dataset("digits", limit=30), digits_model().eval()
    loader = Loader(digits, 16, lambda image: image)
    quiet = lambda title: contextlib.nullcontext(lambda done, total: None)  # noqa: E731
    few = Loader(balanced(digits, 5), 5, lambda image: image)
    evaluate_probe(model, "linear", few, loader, quiet)
    assert "5 of 10 classes have no training image, and are never" in capsys.readouterr().err
    evaluate_probe(model, "linear", loader, loader, quiet)
    assert not capsys.readouterr().err
