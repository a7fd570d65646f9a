"""A linear classifier on what a frozen backbone sees (Alain & Bengio 2016,
https://arxiv.org/abs/1610.01644).
"""

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, check_range
from vitrail.methods.base import Loss, Method
from vitrail.methods.supervised import classify
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper


class LinearProbe(Method):
    """Trains the head only, on pooled features (B, D) that were computed once."""

    paper = Paper(
        "Understanding intermediate layers using linear classifier probes",
        "Alain & Bengio",
        2016,
        "https://arxiv.org/abs/1610.01644",
    )

    def __init__(self, backbone: Backbone, label_smoothing: float = 0.1) -> None:
        super().__init__(backbone)
        if not isinstance(backbone.head, nn.Linear):
            raise ConfigError("a linear probe needs a model with one linear head.")
        check_range("label_smoothing", label_smoothing, 0, 0.999)
        self.label_smoothing = label_smoothing
        backbone.freeze()

    def forward(self, images: Tensor, targets: Tensor) -> Loss:
        """`images` are pooled features (B, D), standardised; targets (B,)."""
        return classify(self.backbone.head(images), targets, self.label_smoothing)

    @torch.no_grad()
    def unstandardise(self, mean: Tensor, std: Tensor) -> None:
        """Rewrites a head that learned on (features − mean) / std into one on bare features."""
        head = self.backbone.head
        assert isinstance(head, nn.Linear)
        head.weight.div_(std)
        head.bias.sub_(head.weight @ mean)
