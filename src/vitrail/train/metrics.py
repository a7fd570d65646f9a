"""How good a model is, and where it errs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.data.loader import Loader
from vitrail.preprocess import Preprocess
from vitrail.data.dataset import ImageDataset, StreamedDataset
from vitrail.files import atomic_write

MISTAKES, EXAMPLES = 24, 8  # images kept for the report


class Evaluation(NamedTuple):
    """Predictions on a whole source, in the loader's order."""

    probabilities: Tensor  # (N, classes)
    targets: Tensor  # (N,)
    indices: Tensor  # (N,): which image of the source
    loss: float

    @property
    def top1(self) -> float:
        """The part whose likeliest class is right."""
        return _accuracy(self.probabilities, self.targets, 1)

    @property
    def top5(self) -> float:
        """The part whose class is among the five likeliest, or among all if there are fewer."""
        return _accuracy(self.probabilities, self.targets, min(5, self.probabilities.shape[1]))

    def confusion(self) -> Tensor:
        """Counts (classes, classes): rows are the truth, columns the prediction."""
        classes = self.probabilities.shape[1]
        pairs = self.targets * classes + self.probabilities.argmax(1)
        return pairs.bincount(minlength=classes**2).reshape(classes, classes)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    loader: Loader,
    preprocess: Preprocess,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Runs a classifier over a loader. `progress` is told batches done, of how many.

    The model's device and training mode are left as they are.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    logits, targets, indices = [], [], []
    for number, batch in enumerate(loader.epoch()):
        images = preprocess.normalise(batch.images.to(device))
        logits.append(model(images).float().cpu())
        targets.append(batch.labels)
        indices.append(batch.indices)
        if progress is not None:
            progress(number + 1, len(loader))
    model.train(was_training)
    return summarise(torch.cat(logits), torch.cat(targets), torch.cat(indices))


def summarise(logits: Tensor, targets: Tensor, indices: Tensor) -> Evaluation:
    """logits (N, classes) → an evaluation."""
    loss = F.cross_entropy(logits, targets).item()
    return Evaluation(logits.softmax(1), targets, indices, loss)


def write(
    folder: Path,
    evaluation: Evaluation | None,
    source: ImageDataset,
    crop: Callable[[Tensor], Tensor],
    labels: list[str],
    told: dict[str, Any],
) -> dict[str, Any]:
    """Writes evaluation.json and, with its images, evaluation.safetensors → the figures.

    told: what else to say there. evaluation None: there is nothing else, no image has a label.
    """
    if evaluation is None:
        atomic_write(folder / "evaluation.json", json.dumps(told, indent=1))
        return told
    confidence, predicted = evaluation.probabilities.max(1)
    wrong = (predicted != evaluation.targets).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES]
    # One example of each class in turn, wherever the prediction landed.
    ranks = torch.zeros_like(evaluation.targets)
    for label in evaluation.targets.unique():
        of_label = evaluation.targets == label
        ranks[of_label] = torch.arange(int(of_label.sum()))
    examples = ranks.argsort(stable=True)[:EXAMPLES]
    shown = [] if isinstance(source, StreamedDataset) else [*worst.tolist(), *examples.tolist()]

    def entry(image: int, row: int) -> dict[str, Any]:
        return {
            "image": image,
            "truth": int(evaluation.targets[row]),
            "predicted": int(predicted[row]),
            "confidence": round(float(confidence[row]), 4),
            "name": source.name(int(evaluation.indices[row])),
        }

    entries = [entry(image, row) for image, row in enumerate(shown)]
    confusion = evaluation.confusion()
    per_class = confusion.diagonal() / confusion.sum(1).clamp(min=1)
    figures = {
        **told, "count": len(evaluation.targets),
        "top1": evaluation.top1, "top5": evaluation.top5, "loss": evaluation.loss,
    }  # fmt: skip
    details = {
        "labels": labels,
        "confusion": confusion.tolist(),
        "per_class": [round(x, 4) for x in per_class.tolist()],
        "mistakes": entries[: len(worst)] if shown else [],
        "examples": entries[len(worst) :] if shown else [],
    }
    if shown:
        images = [crop(source.read(int(evaluation.indices[row]))) for row in shown]
        atomic_write(
            folder / "evaluation.safetensors",
            safetensors.torch.save({"images": torch.stack(images)}),
        )
    atomic_write(folder / "evaluation.json", json.dumps({**figures, **details}, indent=1))
    return figures


def _accuracy(probabilities: Tensor, targets: Tensor, k: int) -> float:
    best = probabilities.topk(k, dim=1).indices
    return (best == targets[:, None]).any(1).double().mean().item()
