"""Classification by labels: cross-entropy with label smoothing (Szegedy et al. 2015,
https://arxiv.org/abs/1512.00567).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import check_range
from vitrail.methods.base import Loss, Method
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper


class Supervised(Method):
    """Trains the whole backbone to name the class. Soft targets come from mixed images."""

    paper = Paper(
        "Rethinking the Inception Architecture for Computer Vision",
        "Szegedy et al.",
        2015,
        "https://arxiv.org/abs/1512.00567",
    )

    def __init__(self, backbone: Backbone, label_smoothing: float = 0.1) -> None:
        super().__init__(backbone)
        check_range("label_smoothing", label_smoothing, 0, 0.999)
        self.label_smoothing = label_smoothing

    def forward(self, images: Tensor, targets: Tensor) -> Loss:
        """images float (B, C, H, W); targets (B,) or (B, classes)."""
        return classify(self.backbone(images), targets, self.label_smoothing)


def classify(logits: Tensor, targets: Tensor, label_smoothing: float) -> Loss:
    """Cross-entropy of logits (B, classes), and how many were right where labels are whole."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    if targets.ndim == 2:
        return Loss(loss, {})
    return Loss(loss, {"top1": (logits.argmax(1) == targets).float().mean()})
