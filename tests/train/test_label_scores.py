"""Figures of several labels and of numbers beside scikit-learn's, and thresholds."""

import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, r2_score

from vitrail.models.outputs import Outputs
from vitrail.train.label_scores import summarize_labels
from vitrail.train.number_scores import summarize_numbers

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(50, 3, generator=GENERATOR)
TRUTH = (LOGITS + torch.randn(50, 3, generator=GENERATOR) > 1).float()


def test_figures_are_scikit_learns() -> None:
    result = summarize_labels(LOGITS, TRUTH, torch.arange(50), Outputs("labels", (0.4, 0.6, 0.7)))
    chosen = LOGITS.sigmoid() >= torch.tensor([0.4, 0.6, 0.7])
    figures = result.figures
    assert figures["map"] == pytest.approx(
        average_precision_score(TRUTH, LOGITS.sigmoid(), average="macro")
    )
    for average in ("micro", "macro"):
        expected = f1_score(TRUTH, chosen, average=average)
        assert figures[f"{average}_f1"] == pytest.approx(expected)
    assert figures["exact"] == pytest.approx((chosen == TRUTH.bool()).all(1).double().mean().item())


def test_a_label_without_images_counts_in_no_mean() -> None:
    truth = TRUTH.clone()
    truth[:, 1] = 0
    result = summarize_labels(LOGITS, truth, torch.arange(50))
    rows = result.classes
    assert result.figures["map"] == pytest.approx(
        (rows[0].average_precision + rows[2].average_precision) / 2
    )
    assert result.tuned().thresholds[1] == 0.5


def test_no_threshold_has_a_higher_f1_than_the_tuned_ones() -> None:
    result = summarize_labels(LOGITS, TRUTH, torch.arange(50))
    tuned = result._replace(outputs=result.tuned())
    for k in range(3):
        probabilities = LOGITS[:, k].sigmoid()
        best = max(f1_score(TRUTH[:, k], probabilities >= t) for t in probabilities)
        assert tuned.classes[k].f1 == pytest.approx(best)


def test_equal_probabilities_are_not_told_apart() -> None:
    truth = torch.tensor([[1.0], [0.0], [1.0]])
    result = summarize_labels(torch.zeros(3, 1), truth, torch.arange(3))
    assert 0 < result.tuned().thresholds[0] < 0.5


def test_figures_of_numbers() -> None:
    truth = torch.tensor([[0.0, 10], [1, 20], [3, 60]])
    predictions = truth + torch.tensor([[1.0, 0], [-1, 0], [1, 6]])
    result = summarize_numbers(predictions, truth, torch.arange(3))
    first, second = result.classes
    assert (first.mae, first.rmse) == (1.0, 1.0)
    assert (second.mae, second.rmse) == (2.0, pytest.approx(12**0.5))
    assert first.r2 == pytest.approx(r2_score(truth[:, 0], predictions[:, 0]))
    assert result.figures["mae"] == 1.5
