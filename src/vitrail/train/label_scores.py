"""How good a model of several labels per image is."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.models.outputs import Outputs

MISTAKES = 24  # images in the report


class LabelScores(NamedTuple):
    """How well one label is recognized.

    Args:
        label: its name.
        images: number of images that have it.
        average_precision: area under the curve of precision over recall; 0 without images.
        threshold: probability from which the label counts.
        recall: fraction of its images that it is predicted for.
        precision: fraction of the images it is predicted for that have it.
        f1: harmonic mean of precision and recall.

    Example:
        >>> LabelScores("cat", 2, 1.0, 0.5, 1.0, 1.0, 1.0).f1
        1.0
    """

    label: str
    images: int
    average_precision: float
    threshold: float
    recall: float
    precision: float
    f1: float


class LabelEvaluation(NamedTuple):
    """Predictions of several labels on a whole dataset.

    Args:
        probabilities: (N, K).
        targets: 0 or 1 (N, K).
        indices: (N,), positions in the dataset.
        loss: mean binary cross-entropy.
        outputs: what the model's outputs mean, with its thresholds.
        labels: names of the labels.
        details: what was evaluated and how, such as "data" and "split".

    Example:
        >>> logits = torch.tensor([[4.0, -4.0], [-4.0, -4.0]])
        >>> result = summarize_labels(logits, (logits > 0).float(), torch.arange(2))
        >>> result.figures["micro_f1"], result.classes[0].average_precision
        (1.0, 1.0)
    """

    probabilities: Tensor
    targets: Tensor
    indices: Tensor
    loss: float
    outputs: Outputs
    labels: Sequence[str] = ()
    details: Mapping[str, str | int | float | list[float]] = MappingProxyType({})

    @property
    def figures(self) -> dict[str, float]:
        """The number of images, "count"; "map", the mean average precision of the labels that have
        images; F1 of all decisions, "micro_f1", and its mean over these labels, "macro_f1";
        "exact", the fraction of images whose labels are all right; and "loss".
        """
        from sklearn.metrics import f1_score

        predicted = self.outputs.predicted_labels(self.probabilities).numpy()
        truth, rows = self.targets.numpy(), [row for row in self.classes if row.images]
        count = max(len(rows), 1)
        return {
            "count": len(truth),
            "map": sum(row.average_precision for row in rows) / count,
            "micro_f1": float(f1_score(truth, predicted, average="micro", zero_division=0.0)),
            "macro_f1": sum(row.f1 for row in rows) / count,
            "exact": float((truth == predicted).all(1).mean()),
            "loss": self.loss,
        }

    @property
    def scores(self) -> dict[str, float]:
        """No further figures."""
        return {}

    @property
    def classes(self) -> list[LabelScores]:
        """How well each label is recognized."""
        from sklearn.metrics import average_precision_score, precision_recall_fscore_support

        truth, count = self.targets.numpy(), self.targets.shape[1]
        predicted = self.outputs.predicted_labels(self.probabilities).numpy()
        rows = []
        for k in range(count):
            precision, recall, f1, _ = precision_recall_fscore_support(
                truth[:, k], predicted[:, k], average="binary", zero_division=0.0
            )
            images = int(truth[:, k].sum())
            area = (
                float(average_precision_score(truth[:, k], self.probabilities[:, k].numpy()))
                if images
                else 0.0
            )
            label = self.labels[k] if self.labels else str(k)
            threshold = (self.outputs.thresholds or (0.5,) * count)[k]
            rows.append(
                LabelScores(label, images, area, threshold, float(recall), float(precision),
                            float(f1))
            )  # fmt: skip
        return rows

    def tuned(self) -> Outputs:
        """The threshold of each label with the highest F1 on these images; 0.5 for labels without.

        It lies in the middle between two probabilities, and of equally good ones it is the one
        nearest to 0.5.
        """
        pairs = zip(self.probabilities.double().T, self.targets.T > 0.5, strict=True)
        return Outputs("labels", tuple(_best_threshold(*pair) for pair in pairs))

    def describe(
        self, dataset: Dataset, labels: list[str], crop: Callable[[Tensor], Tensor]
    ) -> tuple[dict[str, Any], Tensor | None]:
        """What a report needs.

        Args:
            dataset: where the images come from.
            labels: names of the labels.
            crop: brings a sample uint8 (C, *any) to the size in which it is shown.

        Returns:
            Details, with the images of which most labels are wrong; and these images.
        """
        predicted = self.outputs.predicted_labels(self.probabilities)
        wrong = (predicted != (self.targets > 0.5)).sum(1)
        rows = wrong.argsort(descending=True, stable=True)[:MISTAKES].tolist()
        rows = [row for row in rows if wrong[row]]
        entries = [
            {
                "image": image,
                "truth": [labels[k] for k in (self.targets[row] > 0.5).nonzero().flatten()],
                "predicted": [labels[k] for k in predicted[row].nonzero().flatten()],
                "name": dataset.name(int(self.indices[row])),
            }
            for image, row in enumerate(rows)
        ]
        classes = [row._asdict() for row in self._replace(labels=labels).classes]
        details = {"labels": labels, "classes": classes, "mistakes": entries, "examples": []}
        images = [crop(dataset.read(int(self.indices[row]))) for row in rows]
        return details, torch.stack(images) if images else None


def summarize_labels(
    logits: Tensor, targets: Tensor, indices: Tensor, outputs: Outputs | None = None
) -> LabelEvaluation:
    """The evaluation of logits of several labels.

    Args:
        logits: (N, K).
        targets: 0 or 1 (N, K).
        indices: (N,), positions in the dataset.
        outputs: what the model's outputs mean, with its thresholds; None for thresholds of 0.5.

    Returns:
        Their evaluation.

    Example:
        >>> summarize_labels(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]]), torch.arange(2)).loss
        0.6931471824645996
    """
    loss = F.binary_cross_entropy_with_logits(logits, targets).item()
    return LabelEvaluation(logits.sigmoid(), targets, indices, loss, outputs or Outputs("labels"))


def _best_threshold(probabilities: Tensor, truth: Tensor) -> float:
    if not truth.any():
        return 0.5
    ordered, order = probabilities.sort(descending=True)
    right = truth[order].cumsum(0)
    f1 = 2 * right / (torch.arange(1, len(order) + 1) + truth.sum())
    following = torch.cat([ordered[1:], ordered.new_zeros(1)])
    f1[ordered == following] = -1  # equal probabilities are on the same side
    middles = (ordered + following) / 2
    best = (f1 == f1.max()).nonzero().flatten()
    return float(middles[best][(middles[best] - 0.5).abs().argmin()])
