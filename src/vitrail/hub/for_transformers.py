"""A model with the calls of transformers, for its `Trainer` and what is built around it."""

import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.methods.targets import class_targets
from vitrail.models.base import Backbone
from vitrail.values import Rate


class ForImageClassification(nn.Module):
    """A classifier as transformers' `Trainer` calls it: named inputs, and a dictionary back.

    Args:
        model: model with a head; it is trained in place, and `vitrail.save` saves it afterwards.
        label_smoothing: probability that is taken from the label and spread evenly over all
            classes.

    Raises:
        ConfigError: the model has no head.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> labels = torch.tensor([0, 1, 1])
        >>> outputs = ForImageClassification(model)(torch.zeros(3, 3, 8, 8), labels)
        >>> outputs["loss"].shape, outputs["logits"].shape
        (torch.Size([]), torch.Size([3, 2]))
    """

    @checked
    def __init__(self, model: Backbone, label_smoothing: Rate = 0.0) -> None:
        super().__init__()
        if not model.num_classes:
            raise ConfigError(
                f"this {type(model).__name__} has no head: call model.reset_head(num_classes)."
            )
        self.model, self.label_smoothing = model, label_smoothing

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """pixel_values (B, C, *size), labels (B,) → "logits" (B, classes), and "loss"."""
        logits = self.model(pixel_values)
        if labels is None:
            return {"logits": logits}
        targets = class_targets(labels, logits)
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=self.label_smoothing)
        return {"loss": loss, "logits": logits}
