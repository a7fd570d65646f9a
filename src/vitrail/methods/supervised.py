"""Supervised classification: cross-entropy with label smoothing (Szegedy et al. 2015,
https://arxiv.org/abs/1512.00567).
"""

import torch.nn.functional as F
from torch import Tensor

from vitrail.layers.dtypes import at_least_float32
from vitrail.methods.base import Batch, Loss, Method
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.values import Rate


class Supervised(Method):
    """Supervised training of the whole backbone on labels.

    Args:
        backbone: model to train, with a head.
        label_smoothing: probability that is taken from the label and spread evenly over all
            classes.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> batch = Batch(images=torch.zeros(2, 3, 8, 8), labels=torch.tensor([0, 1]))
        >>> Supervised(model)(batch).metrics["top1"]
        tensor(0.5000)
    """

    paper = Paper(
        "Rethinking the Inception Architecture for Computer Vision",
        "Szegedy et al.",
        2015,
        "https://arxiv.org/abs/1512.00567",
        change="Label smoothing: a little of each target goes to all classes.",
    )

    def __init__(self, backbone: Backbone, label_smoothing: Rate = 0.1) -> None:
        super().__init__(backbone)
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size) and labels (B,) or (B, classes) → Loss."""
        return classify(self.backbone(batch["images"]), batch["labels"], self.label_smoothing)


def classify(logits: Tensor, labels: Tensor, label_smoothing: float) -> Loss:
    """Cross-entropy, computed in float32 or better, and the accuracy.

    Args:
        logits: (B, classes).
        labels: class indices (B,), or class probabilities (B, classes) of mixed images.
        label_smoothing: probability that is spread evenly over all classes.

    Returns:
        The mean loss, with the metric "top1" where labels are class indices.

    Example:
        >>> logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
        >>> classify(logits, torch.tensor([0, 0]), 0.0).metrics["top1"]
        tensor(0.5000)
    """
    logits = at_least_float32(logits)
    loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if labels.ndim == 2:
        return Loss(loss, {})
    return Loss(loss, {"top1": (logits.argmax(1) == labels).float().mean()})
