"""Figures of classifiers, compared with their definitions."""

import csv
import io

import pytest
import torch
from sklearn import metrics

from vitrail.train.scores import as_csv, calibration_error, class_scores, overall_scores


def predictions(classes: int = 3, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Random probabilities and targets."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, classes, generator=generator)
    return logits.softmax(1), torch.randint(0, classes, (count,), generator=generator)


def test_classes_by_counting() -> None:
    probabilities, targets = predictions()
    best = probabilities.argmax(1)
    for index, row in enumerate(class_scores(probabilities, targets, ["a", "b", "c"])):
        right = int(((best == index) & (targets == index)).sum())
        recall = right / int((targets == index).sum())
        precision = right / int((best == index).sum())
        assert (row.recall, row.precision) == pytest.approx((recall, precision))
        assert row.f1 == pytest.approx(2 * recall * precision / (recall + precision))
        assert row.recall_low < row.recall < row.recall_high
        assert row.images == int((targets == index).sum())


def test_rare_classes_count_as_much() -> None:
    probabilities = torch.tensor([[0.9, 0.1]]).repeat(100, 1)
    targets = torch.cat([torch.zeros(97), torch.ones(3)]).long()
    scores = overall_scores(probabilities, targets)
    assert scores["balanced_accuracy"] == pytest.approx(0.5)
    assert scores["macro_f1"] == pytest.approx((2 * 0.97 / 1.97) / 2)
    assert scores["auc"] == pytest.approx(0.5)


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    probabilities, targets = predictions(classes=2)
    positive, negative = probabilities[targets == 1, 1], probabilities[targets == 0, 1]
    share = (positive[:, None] > negative).double().mean()
    assert overall_scores(probabilities, targets)["auc"] == pytest.approx(float(share))


@pytest.mark.parametrize("digits", [1, 6])  # with many equal probabilities, and with none
def test_all_figures_are_scikit_learn_s(digits: int) -> None:
    probabilities, targets = predictions(classes=5, count=200)
    probabilities, targets = probabilities.round(decimals=digits), targets.clamp(max=3)
    best, scores = probabilities.argmax(1), overall_scores(probabilities, targets)
    areas = [metrics.roc_auc_score(targets == n, probabilities[:, n]) for n in range(4)]
    assert scores["auc"] == pytest.approx(sum(areas) / 4, rel=1e-12)
    precision, recall, f1 = metrics.precision_recall_fscore_support(
        targets, best, labels=range(5), zero_division=0.0
    )[:3]
    assert scores["balanced_accuracy"] == pytest.approx(recall[:4].mean(), rel=1e-12)
    assert scores["macro_f1"] == pytest.approx(f1[:4].mean(), rel=1e-12)
    rows = class_scores(probabilities, targets, [])
    for name, column in (("recall", recall), ("precision", precision), ("f1", f1)):
        assert [getattr(row, name) for row in rows] == pytest.approx(column, rel=1e-12)


def test_classes_without_images_do_not_count() -> None:
    probabilities = torch.eye(3)[[0, 1, 2]] * 0.8 + 0.2 / 3
    scores = overall_scores(probabilities, torch.tensor([0, 1, 0]))
    assert scores["balanced_accuracy"] == pytest.approx(0.75)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    one_class = overall_scores(probabilities, torch.zeros(3, dtype=torch.long))
    assert "auc" not in one_class
    assert class_scores(probabilities, torch.tensor([0, 1, 0]), [])[2].images == 0


@pytest.mark.parametrize(("classes", "sharpness"), [(3, 1.0), (40, 0.5)])  # high and low confidence
def test_calibration_by_its_formula(classes: int, sharpness: float) -> None:
    probabilities, targets = predictions(classes, count=200)
    probabilities = (probabilities.log() * sharpness).softmax(1)
    confidence, best = probabilities.max(1)
    error = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            accuracy = (best == targets)[inside].double().mean()
            error += abs(float(accuracy - confidence[inside].double().mean())) * int(inside.sum())
    assert calibration_error(probabilities, targets) == pytest.approx(error / 200)


def test_the_table_is_read_back() -> None:
    rows = class_scores(*predictions(), ['a "cat", sitting', "狗", "c"])
    table = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [row["label"] for row in table] == [row.label for row in rows]
    assert float(table[1]["precision"]) == rows[1].precision
