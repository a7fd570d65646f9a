"""Figures of a classifier beside its accuracy: by class, and fair to rare classes."""

import csv
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitrail.intervals import wilson

BINS = 15  # of the calibration error


class ClassScores(NamedTuple):
    """How well one class is recognized.

    Args:
        label: its name.
        images: number of its images.
        recall: fraction of them that is recognized.
        recall_low: lower end of the recall's 95 % interval.
        recall_high: upper end.
        precision: fraction of the images predicted as this class that are of it.
        f1: harmonic mean of precision and recall.

    Example:
        >>> class_scores(torch.eye(2), torch.tensor([0, 1]), ["cat", "dog"])[0].f1
        1.0
    """

    label: str
    images: int
    recall: float
    recall_low: float
    recall_high: float
    precision: float
    f1: float


def class_scores(
    probabilities: Tensor, targets: Tensor, labels: Sequence[str]
) -> list[ClassScores]:
    """How well each class is recognized.

    Args:
        probabilities: (N, classes).
        targets: class indices (N,).
        labels: class names.

    Returns:
        One row per class, in their order.

    Example:
        >>> rows = class_scores(torch.eye(2)[[0, 0, 1]], torch.tensor([0, 1, 1]), ["cat", "dog"])
        >>> [(row.precision, row.recall) for row in rows]
        [(0.5, 1.0), (1.0, 0.5)]
    """
    recall, precision, f1 = _ratios(probabilities, targets)
    rows = []
    for index, images in enumerate(targets.bincount(minlength=len(recall)).tolist()):
        label = labels[index] if labels else str(index)
        share = float(recall[index])
        low, high = wilson(round(share * images), images)
        rows.append(
            ClassScores(label, images, share, low, high, float(precision[index]), float(f1[index]))
        )
    return rows


def _ratios(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Recall, precision and F1 of each class, in float64; 0 where there is nothing to divide by."""
    best = probabilities.argmax(1)
    right, images, predicted = (
        indices.bincount(minlength=probabilities.shape[1]).double()
        for indices in (targets[best == targets], targets, best)
    )
    both = (images + predicted).clamp(min=1)
    return right / images.clamp(min=1), right / predicted.clamp(min=1), 2 * right / both


def overall_scores(probabilities: Tensor, targets: Tensor) -> dict[str, float]:
    """Figures over all classes.

    Args:
        probabilities: (N, classes).
        targets: class indices (N,).

    Returns:
        "balanced_accuracy", the mean recall of the classes that have images; "macro_f1", the mean
        F1 of these; "auc", the mean area under the ROC curve of each class against the rest, where
        two classes or more have images; "calibration_error", by how much confidence and accuracy
        differ, as a mean over 15 bins of confidence (Guo et al. 2017).

    Example:
        >>> scores = overall_scores(torch.eye(2)[[0, 0, 1]], torch.tensor([0, 1, 1]))
        >>> {name: round(value, 3) for name, value in scores.items()}
        {'balanced_accuracy': 0.75, 'macro_f1': 0.667, 'auc': 0.75, 'calibration_error': 0.333}
    """
    recall, _precision, f1 = _ratios(probabilities, targets)
    present = targets.unique()
    scores = {
        "balanced_accuracy": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
    }
    if len(present) > 1:
        areas = [_area(probabilities[:, label], targets == label) for label in present]
        scores["auc"] = sum(areas) / len(areas)
    scores["calibration_error"] = calibration_error(probabilities, targets)
    return scores


def _area(scores: Tensor, positive: Tensor) -> float:
    """The area under the ROC curve, by ranks (Mann & Whitney 1947); equal scores share theirs."""
    _values, group, counts = scores.unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0) - (counts.double() - 1) / 2
    count = int(positive.sum())
    above = float(ranks[group[positive]].sum()) - count * (count + 1) / 2
    return above / (count * (len(scores) - count))


def calibration_error(probabilities: Tensor, targets: Tensor, bins: int = BINS) -> float:
    """The expected calibration error (Guo et al. 2017, arXiv 1706.04599, eq. 3).

    Args:
        probabilities: (N, classes).
        targets: class indices (N,).
        bins: number of equally wide bins of the confidence.

    Returns:
        The mean of |accuracy - confidence| over the bins, weighted by their images.

    Example:
        >>> calibration_error(torch.tensor([[0.75, 0.25]]), torch.tensor([0]))
        0.25
    """
    confidence, best = probabilities.double().max(1)
    gaps = (best == targets).double() - confidence
    bin_of_image = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    sums = torch.zeros(bins, dtype=torch.float64).index_add(0, bin_of_image, gaps)
    return float(sums.abs().sum() / len(targets))


def as_csv(rows: Sequence[Any]) -> str:
    """A table of the classes, labels or numbers.

    Args:
        rows: named tuples of one kind, as of `class_scores`.

    Returns:
        Comma-separated values with a line of names.

    Example:
        >>> as_csv([ClassScores("cat", 2, 1.0, 0.34, 1.0, 0.5, 0.67)]).splitlines()[1]
        'cat,2,1.0,0.34,1.0,0.5,0.67'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0]._fields)
    writer.writerows(rows)
    return text.getvalue()
