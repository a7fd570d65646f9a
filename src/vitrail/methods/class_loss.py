"""The loss of one class per sample, and what it does about rare classes."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.dtypes import at_least_float32
from vitrail.methods.base import Batch, Loss
from vitrail.methods.targets import class_targets, require_outputs, require_weights
from vitrail.ops.guard import guarded
from vitrail.values import NonNegativeFloat, PositiveFloat, Rate

EPSILON = 1e-12
ClassWeights = Literal["equal", "balanced"] | tuple[PositiveFloat, ...]


class ClassLoss(nn.Module):
    """Cross-entropy with label smoothing (Szegedy et al. 2015, https://arxiv.org/abs/1512.00567),
    weights of classes and the focal factor (Lin et al. 2017, https://arxiv.org/abs/1708.02002).

    Args:
        classes: number of classes.
        label_smoothing: probability that is taken from the label and spread evenly over all
            classes.
        class_weights: "equal"; "balanced" for the inverse of how often each class occurs in
            training, 1 on average over the samples; or one number per class.
        focal: exponent gamma of the factor (1 - p)**gamma on the loss of a class of probability p,
            by which well classified samples count less; 0 for none.

    Raises:
        ConfigError: there are no classes, or not as many weights as classes.

    Example:
        >>> loss = ClassLoss(2, class_weights="balanced")
        >>> loss.fit_targets(torch.tensor([0, 0, 0, 1]))
        >>> loss.weights
        tensor([0.6667, 2.0000])
    """

    weights: Tensor | None  # (classes,)

    def __init__(
        self,
        classes: int,
        label_smoothing: Rate = 0.0,
        class_weights: ClassWeights = "equal",
        focal: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        require_outputs(classes)
        self.classes, self.label_smoothing, self.focal = classes, label_smoothing, focal
        self.balanced = class_weights == "balanced"
        weights = None if isinstance(class_weights, str) else torch.tensor(class_weights)
        if weights is not None and len(weights) != classes:
            raise ConfigError(
                f"class_weights has {len(weights)} numbers, and the model {classes} classes: give "
                "one number for each."
            )
        # It follows from the settings and the data, so that no file needs to hold it.
        self.register_buffer("weights", weights, persistent=False)

    def fit_targets(self, targets: Tensor) -> None:
        """Weighs classes by how often they occur, if that is set.

        Args:
            targets: class indices (N,) of all training samples.

        Raises:
            DataError: one is no class.
        """
        logits = torch.empty(len(targets), self.classes, device="meta")  # of which the shape counts
        targets = class_targets(targets, logits)
        if self.balanced:
            counts = targets.bincount(minlength=self.classes).clamp(min=1)
            self.weights = len(targets) / (self.classes * counts.float())

    def forward(self, logits: Tensor, batch: Batch) -> Loss:
        """logits (B, classes) and a batch with labels → Loss."""
        if self.balanced and self.weights is None:
            raise ConfigError(
                "class_weights='balanced' needs the labels of all training samples: call "
                "method.fit_targets(labels), or give one number per class."
            )
        if self.weights is not None and len(self.weights) != logits.shape[1]:
            raise ConfigError(
                f"class_weights has {len(self.weights)} numbers, and the model now "
                f"{logits.shape[1]} classes: make the method after model.reset_head."
            )
        return classify(
            logits,
            batch["labels"],
            self.label_smoothing,
            class_weights=self.weights,
            focal=self.focal,
            sample_weights=batch.weights,
        )


@guarded
def classify(
    logits: Tensor,
    labels: Tensor,
    label_smoothing: Rate,
    *,
    class_weights: Tensor | None = None,
    focal: NonNegativeFloat = 0.0,
    sample_weights: Tensor | None = None,
) -> Loss:
    """Cross-entropy, computed in float32 or better, and the accuracy.

    Args:
        logits: (B, classes).
        labels: class indices (B,), or class probabilities (B, classes) of mixed images.
        label_smoothing: probability that is spread evenly over all classes.
        class_weights: (classes,); None for 1.
        focal: exponent of the focal factor; 0 for none.
        sample_weights: (B,); None for 1.

    Returns:
        The weighted mean of the loss, with the metric "top1" where labels are class indices.

    Raises:
        DataError: the labels do not fit the logits.

    Example:
        >>> logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
        >>> classify(logits, torch.tensor([0, 0]), 0.0).metrics["top1"]
        tensor(0.5000)
    """
    logits = at_least_float32(logits)
    labels = class_targets(labels, logits)
    require_weights(sample_weights, len(logits))
    if class_weights is None and not focal and sample_weights is None:
        loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    else:
        log_probs = logits.log_softmax(1)
        truth = labels if labels.ndim == 2 else F.one_hot(labels, logits.shape[1])
        truth = truth.to(logits.dtype)
        smooth = truth * (1 - label_smoothing) + label_smoothing / logits.shape[1]
        terms = -smooth * log_probs * (1 - log_probs.exp()).clamp(min=EPSILON) ** focal
        weights = (
            torch.ones_like(logits[:, 0]) if sample_weights is None else sample_weights.to(logits)
        )
        total = weights
        if class_weights is not None:
            terms, total = terms * class_weights, weights * (truth @ class_weights.to(truth))
        # A batch may hold nothing but samples of weight 0.
        loss = (terms.sum(1) * weights).sum() / total.sum().clamp(min=EPSILON)
    if labels.ndim == 2:
        return Loss(loss, {})
    return Loss(loss, {"top1": (logits.argmax(1) == labels).float().mean()})
