"""How good a model of numbers is."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.models.outputs import Outputs

MISTAKES, POINTS = 24, 2000  # images and points in the report


class NumberScores(NamedTuple):
    """How well one number is predicted.

    Args:
        label: its name.
        images: number of images.
        mae: mean absolute error, in its unit.
        rmse: root of the mean squared error, in its unit.
        r2: coefficient of determination: 1 for all right, 0 for no better than the mean; NaN of
            fewer than two images.

    Example:
        >>> NumberScores("age", 3, 2.0, 2.5, 0.9).mae
        2.0
    """

    label: str
    images: int
    mae: float
    rmse: float
    r2: float


class NumberEvaluation(NamedTuple):
    """Predictions of numbers on a whole dataset.

    Args:
        predictions: (N, K).
        targets: (N, K).
        indices: (N,), positions in the dataset.
        labels: names of the numbers.
        details: what was evaluated and how, such as "data" and "split".

    Example:
        >>> truth = torch.tensor([[1.0], [3.0]])
        >>> summarize_numbers(truth + 1, truth, torch.arange(2)).figures["mae"]
        1.0
    """

    predictions: Tensor
    targets: Tensor
    indices: Tensor
    labels: Sequence[str] = ()
    details: Mapping[str, str | int | float | list[float]] = MappingProxyType({})

    @property
    def figures(self) -> dict[str, float]:
        """The number of images, "count"; and "mae", "rmse" and "r2", means over the numbers."""
        rows = self.classes
        means = {
            name: sum(getattr(row, name) for row in rows) / len(rows)
            for name in ("mae", "rmse", "r2")
        }
        return {"count": len(self.targets), **means}

    @property
    def scores(self) -> dict[str, float]:
        """No further figures."""
        return {}

    @property
    def classes(self) -> list[NumberScores]:
        """How well each number is predicted."""
        from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

        rows = []
        for k in range(self.targets.shape[1]):
            pair = self.targets[:, k].double().numpy(), self.predictions[:, k].double().numpy()
            r2 = float(r2_score(*pair)) if len(self.targets) > 1 else float("nan")
            label = self.labels[k] if self.labels else str(k)
            mae, rmse = float(mean_absolute_error(*pair)), float(root_mean_squared_error(*pair))
            rows.append(NumberScores(label, len(self.targets), mae, rmse, r2))
        return rows

    def tuned(self) -> Outputs:
        """What the outputs mean: numbers, of which nothing is tuned."""
        return Outputs("numbers")

    def describe(
        self, dataset: Dataset, labels: list[str], crop: Callable[[Tensor], Tensor]
    ) -> tuple[dict[str, Any], Tensor | None]:
        """What a report needs.

        Args:
            dataset: where the images come from.
            labels: names of the numbers.
            crop: brings a sample uint8 (C, *any) to the size in which it is shown.

        Returns:
            Details, with points (true, predicted) of each number and the images of the largest
            errors, relative to the spread of each number; and these images.
        """
        spread = self.targets.std(0, correction=0)  # of one image it is 0
        errors = (self.predictions - self.targets) / spread.clamp(min=1e-12)
        rows = errors.abs().amax(1).argsort(descending=True, stable=True)[:MISTAKES].tolist()
        pairs = torch.stack([self.targets, self.predictions], 2)[:POINTS]
        entries = [
            {
                "image": image,
                "truth": self.targets[row].tolist(),
                "predicted": self.predictions[row].tolist(),
                "name": dataset.name(int(self.indices[row])),
            }
            for image, row in enumerate(rows)
        ]
        details = {
            "labels": labels,
            "classes": [row._asdict() for row in self._replace(labels=labels).classes],
            "points": pairs.transpose(0, 1).tolist(),
            "mistakes": entries,
            "examples": [],
        }
        return details, torch.stack([crop(dataset.read(int(self.indices[row]))) for row in rows])


def summarize_numbers(predictions: Tensor, targets: Tensor, indices: Tensor) -> NumberEvaluation:
    """The evaluation of predicted numbers.

    Args:
        predictions: (N, K).
        targets: (N, K).
        indices: (N,), positions in the dataset.

    Returns:
        Their evaluation.

    Example:
        >>> summarize_numbers(torch.ones(2, 1), torch.ones(2, 1), torch.arange(2)).figures["rmse"]
        0.0
    """
    return NumberEvaluation(predictions, targets, indices)
