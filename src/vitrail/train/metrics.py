"""How good a classifier is, and where it errs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.data.dataset import Dataset
from vitrail.data.loader import Loader
from vitrail.intervals import wilson
from vitrail.methods import distributed
from vitrail.models.outputs import Outputs
from vitrail.preprocess import Preprocess
from vitrail.train.label_scores import LabelEvaluation, summarize_labels
from vitrail.train.number_scores import NumberEvaluation, summarize_numbers
from vitrail.train.pieces import in_halves
from vitrail.train.scores import ClassScores, class_scores, overall_scores

MISTAKES, EXAMPLES = 24, 8  # images in the report


CLASSES = Outputs()


class Evaluation(NamedTuple):
    """Predictions on a whole dataset.

    Args:
        probabilities: (N, classes).
        targets: (N,).
        indices: (N,), positions in the dataset.
        loss: mean cross-entropy.
        labels: class names; empty where they are not known.
        details: what was evaluated and how, such as "data" and "split".

    Example:
        >>> result = summarize(torch.eye(3), torch.tensor([0, 1, 1]), torch.arange(3))
        >>> round(result.top1, 3), result.confusion()[1].tolist()
        (0.667, [0, 1, 1])
    """

    probabilities: Tensor
    targets: Tensor
    indices: Tensor
    loss: float
    labels: Sequence[str] = ()
    details: Mapping[str, str | int | float | list[float]] = MappingProxyType({})

    @property
    def figures(self) -> dict[str, float]:
        """The number of images, "count"; "top1", with its interval "top1_low" and "top1_high";
        "top5" of more than five classes; and "loss".
        """
        low, high = self.interval
        figures = {"top1": self.top1, "top1_low": low, "top1_high": high}
        if self.probabilities.shape[1] > 5:
            figures["top5"] = self.top5
        return {"count": len(self.targets), **figures, "loss": self.loss}

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `top1`."""
        count = len(self.targets)
        return wilson(round(self.top1 * count), count)

    @property
    def top1(self) -> float:
        """The fraction whose likeliest class is right."""
        return _accuracy(self.probabilities, self.targets, 1)

    @property
    def top5(self) -> float:
        """The fraction whose class is among the five likeliest, or among all if there are fewer."""
        return _accuracy(self.probabilities, self.targets, min(5, self.probabilities.shape[1]))

    @property
    def scores(self) -> dict[str, float]:
        """Figures that are fair to rare classes: see `overall_scores`."""
        return overall_scores(self.probabilities, self.targets)

    @property
    def classes(self) -> list[ClassScores]:
        """How well each class is recognized."""
        return class_scores(self.probabilities, self.targets, self.labels)

    def tuned(self) -> Outputs:
        """What the outputs mean: classes, of which nothing is tuned."""
        return CLASSES

    def describe(
        self, dataset: Dataset, labels: list[str], crop: Callable[[Tensor], Tensor]
    ) -> tuple[dict[str, Any], Tensor | None]:
        """dataset, labels, crop → what a report needs: see `describe_evaluation`."""
        return describe_evaluation(self, dataset, labels, crop)[1:]

    def confusion(self) -> Tensor:
        """Counts (classes, classes): rows are the truth, columns the prediction."""
        classes = self.probabilities.shape[1]
        pairs = self.targets * classes + self.probabilities.argmax(1)
        return pairs.bincount(minlength=classes**2).reshape(classes, classes)

    def mistakes(self) -> Tensor:
        """Positions of the wrong predictions, most confident first."""
        confidence, predicted = self.probabilities.max(1)
        wrong = (predicted != self.targets).nonzero().flatten()
        return wrong[confidence[wrong].argsort(descending=True, stable=True)]

    def examples(self) -> Tensor:
        """Positions, ordered so that each class comes once before any comes again."""
        ranks = torch.zeros_like(self.targets)
        for label in self.targets.unique():
            of_label = self.targets == label
            ranks[of_label] = torch.arange(int(of_label.sum()))
        return ranks.argsort(stable=True)


AnyEvaluation = Evaluation | LabelEvaluation | NumberEvaluation


def summarize_outputs(
    outputs: Tensor, targets: Tensor, indices: Tensor, meaning: Outputs
) -> AnyEvaluation:
    """The evaluation of what a model gives.

    Args:
        outputs: (N, K).
        targets: class indices (N,), or values (N, K).
        indices: (N,), positions in the dataset.
        meaning: what the outputs mean.

    Returns:
        An evaluation of classes, of several labels or of numbers.

    Example:
        >>> summarize_outputs(torch.eye(2), torch.arange(2), torch.arange(2), Outputs()).top1
        1.0
    """
    if meaning.target == "class":
        return summarize(outputs, targets, indices)
    if meaning.target == "labels":
        return summarize_labels(outputs, targets, indices, meaning)
    return summarize_numbers(outputs, targets, indices)


def summarize(logits: Tensor, targets: Tensor, indices: Tensor) -> Evaluation:
    """The evaluation of logits.

    Args:
        logits: (N, classes).
        targets: (N,).
        indices: (N,), positions in the dataset.

    Returns:
        Their evaluation.

    Example:
        >>> summarize(torch.eye(2), torch.tensor([0, 1]), torch.arange(2)).top1
        1.0
    """
    loss = F.cross_entropy(logits, targets).item()
    return Evaluation(logits.softmax(1), targets, indices, loss)


def collect(
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    total: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    dealt: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Concatenates the batches of an evaluation on the CPU, in float32.

    Args:
        batches: outputs (B, ...), targets (B,) and indices (B,) of each batch.
        total: number of batches.
        progress: called with (done, total).
        dealt: whether these are the batches of this process, of several that took them in turn;
            each process then gets all.

    Returns:
        Outputs (N, ...), targets (N,) and indices (N,).

    Example:
        >>> ones = torch.ones(2, 3)
        >>> collect([(ones, ones[:, 0], ones[:, 0])] * 2, 2)[0].shape
        torch.Size([4, 3])
    """
    processes = distributed.world_size() if dealt else 1
    rows = []
    for number, (output, target, index) in enumerate(batches, 1):
        rows.append((output.float().cpu(), target.cpu(), index.cpu()))
        if progress is not None:
            progress(min(number * processes, total), total)
    outputs, targets, indices = zip(*distributed.deal_back(rows) if dealt else rows, strict=True)
    return torch.cat(outputs), torch.cat(targets), torch.cat(indices)


@torch.inference_mode()
def evaluate_classifier(
    model: nn.Module,
    loader: Loader,
    preprocess: Preprocess,
    progress: Callable[[int, int], None] | None = None,
    meaning: Outputs = CLASSES,
) -> AnyEvaluation:
    """Runs a classifier over a loader.

    Args:
        model: images (B, C, *size) → logits; its device and mode stay as they are.
        loader: samples of the model's size.
        preprocess: normalizes them.
        progress: called with (batches done, of how many).
        meaning: what the outputs of the classifier mean.

    Returns:
        The evaluation, in the loader's order.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> loader = Loader(open_dataset("digits", limit=20), 8, lambda image: image)
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> preprocess = Preprocess((8, 8), None, mean=(0.3,), std=(0.4,))
        >>> evaluate_classifier(model, loader, preprocess).probabilities.shape
        torch.Size([20, 10])
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()

    def logits(images: Tensor) -> Tensor:
        return preprocess.apply(model, images.to(device))

    batches = ((in_halves(logits, raw.images), raw.labels, raw.indices) for raw in loader.epoch())
    outputs, targets, indices = collect(batches, len(loader), progress, dealt=loader.deals)
    model.train(was_training)
    if loader.dataset.values is not None:
        targets = loader.dataset.values[indices]
    return summarize_outputs(outputs, targets, indices, meaning)


def describe_evaluation(
    evaluation: Evaluation, dataset: Dataset, labels: list[str], crop: Callable[[Tensor], Tensor]
) -> tuple[dict[str, Any], dict[str, Any], Tensor | None]:
    """What a report needs of an evaluation.

    Args:
        evaluation: predictions on the dataset.
        dataset: where the images come from.
        labels: class names.
        crop: brings a sample uint8 (C, *any) to the size in which it is shown.

    Returns:
        The figures; details, with positions into the images of mistakes and examples; and these
        images, uint8 (N, C, *size), None for a streamed dataset.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> digits = open_dataset("digits", limit=20)
        >>> targets = torch.tensor(digits.targets())
        >>> result = summarize(torch.eye(10)[targets], targets, torch.arange(20))
        >>> crop = lambda image: image
        >>> figures, details, images = describe_evaluation(result, digits, digits.labels, crop)
        >>> figures["top1"], len(details["examples"]), images.shape
        (1.0, 8, torch.Size([8, 1, 8, 8]))
    """
    confidence, predicted = evaluation.probabilities.max(1)
    mistakes, examples = evaluation.mistakes()[:MISTAKES], evaluation.examples()[:EXAMPLES]
    rows = [] if dataset.streamed else [*mistakes.tolist(), *examples.tolist()]

    def entry(image: int, row: int) -> dict[str, Any]:
        return {
            "image": image,
            "truth": int(evaluation.targets[row]),
            "predicted": int(predicted[row]),
            "confidence": round(float(confidence[row]), 4),
            "name": dataset.name(int(evaluation.indices[row])),
        }

    entries = [entry(image, row) for image, row in enumerate(rows)]
    confusion = evaluation.confusion()
    classes = class_scores(evaluation.probabilities, evaluation.targets, labels)
    per_class = confusion.diagonal() / confusion.sum(1).clamp(min=1)
    details = {
        "labels": labels,
        "confusion": confusion.tolist(),
        "scores": evaluation.scores,
        "classes": [row._asdict() for row in classes],
        "per_class": [round(x, 4) for x in per_class.tolist()],
        "mistakes": entries[: len(mistakes)] if rows else [],
        "examples": entries[len(mistakes) :] if rows else [],
    }
    if not rows:
        return evaluation.figures, details, None
    images = [crop(dataset.read(int(evaluation.indices[row]))) for row in rows]
    return evaluation.figures, details, torch.stack(images)


def _accuracy(probabilities: Tensor, targets: Tensor, k: int) -> float:
    best = probabilities.topk(k, dim=1).indices
    return (best == targets[:, None]).any(1).double().mean().item()
