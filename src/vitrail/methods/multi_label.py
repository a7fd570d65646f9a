"""Several labels per image: a binary cross-entropy for each label."""

import torch.nn.functional as F
from torch import Tensor

from vitrail.layers.dtypes import at_least_float32
from vitrail.methods.base import Batch, Loss, Method
from vitrail.methods.class_loss import EPSILON
from vitrail.methods.targets import require_outputs, require_weights, row_targets
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.ops.guard import guarded
from vitrail.values import Rate


class MultiLabel(Method):
    """Supervised training on images that have any number of labels.

    Args:
        backbone: model to train, whose head has one output per label.
        label_smoothing: probability that is spread evenly over "has the label" and "has it not".

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=3, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
        >>> MultiLabel(model)(Batch(images=torch.zeros(2, 3, 8, 8), labels=labels)).loss
        tensor(0.69..., grad_fn=<MeanBackward0>)
    """

    paper = Paper(
        "Large-scale Multi-label Text Classification: Revisiting Neural Networks",
        "Nam et al.",
        2013,
        "https://arxiv.org/abs/1312.5419",
        change="Cross-entropy of each label by itself: an image may have several.",
    )
    target = "labels"
    weighs_samples = True

    def __init__(self, backbone: Backbone, label_smoothing: Rate = 0.0) -> None:
        super().__init__(backbone)
        require_outputs(backbone.num_classes)
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size) and labels float (B, K) → Loss."""
        return decide(self.backbone(batch["images"]), batch, self.label_smoothing)


@guarded
def decide(logits: Tensor, batch: Batch, label_smoothing: Rate = 0.0) -> Loss:
    """Binary cross-entropy, the mean over labels, computed in float32 or better.

    Args:
        logits: (B, K).
        batch: with labels (B, K), and perhaps weights.
        label_smoothing: probability that is spread evenly over "has the label" and "has it not".

    Returns:
        The weighted mean over the samples.

    Example:
        >>> decide(torch.zeros(1, 2), Batch(labels=torch.tensor([[1.0, 0.0]]))).loss
        tensor(0.6931)
    """
    logits = at_least_float32(logits)
    labels = row_targets(batch["labels"], logits)
    smooth = labels * (1 - label_smoothing) + label_smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none").mean(1)
    return Loss(weighted_mean(losses, batch.weights), {})


@guarded
def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The mean over the samples of a batch.

    Args:
        losses: (B,).
        weights: (B,), how much each sample counts; None for all alike.

    Returns:
        (), 0 where no sample counts.

    Example:
        >>> weighted_mean(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 1.0]))
        tensor(2.)
    """
    require_weights(weights, len(losses))
    if weights is None:
        return losses.mean()
    weights = weights.to(losses)
    return (losses * weights).sum() / weights.sum().clamp(min=EPSILON)
