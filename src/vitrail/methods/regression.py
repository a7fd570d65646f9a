"""Numbers in place of classes: the age of a tree, the corners of a box."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.dtypes import at_least_float32
from vitrail.methods.base import Batch, Loss, Method
from vitrail.methods.multi_label import weighted_mean
from vitrail.methods.targets import standardization, standardized
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper

LOSSES: dict[str, Callable[..., Tensor]] = {
    "l1": F.l1_loss,
    "l2": F.mse_loss,
    "huber": F.huber_loss,
}


class Regression(Method):
    """Supervised training on numbers.

    While the head learns, each number is standardized by its mean and standard deviation in the
    training set. `finish` then rewrites the head, so that the model gives numbers in their units.

    Args:
        backbone: model to train, whose head is linear and has one output per number.
        loss: "l2", the squared error; "l1", the absolute error; "huber" (Huber 1964), squared up to
            one standard deviation and absolute beyond.

    Raises:
        ConfigError: the head is not linear.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=1, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> method, ages = Regression(model), torch.tensor([[20.0], [40.0]])
        >>> method.fit_targets(ages)
        >>> method(Batch(images=torch.zeros(2, 3, 8, 8), labels=ages)).metrics["mae"]
        tensor(10.)
    """

    paper = Paper(
        "Robust Estimation of a Location Parameter",
        "Huber",
        1964,
        "https://doi.org/10.1214/aoms/1177703732",
        change="A loss that is squared for small errors and absolute for large ones.",
    )
    target = "numbers"
    weighs_samples = True
    training_only = ("target_mean", "target_std")

    target_mean: Tensor  # (K,)
    target_std: Tensor  # (K,)

    def __init__(self, backbone: Backbone, loss: Literal["l1", "l2", "huber"] = "huber") -> None:
        super().__init__(backbone)
        self.loss = LOSSES[loss]
        like = _last_layers(backbone)[0].weight
        self.register_buffer("target_mean", like.new_zeros(backbone.num_classes))
        self.register_buffer("target_std", like.new_ones(backbone.num_classes))

    @torch.no_grad()
    def fit_targets(self, targets: Tensor) -> None:
        """Measures what numbers are standardized by.

        Args:
            targets: (N, K) of all training samples.
        """
        mean, std = standardization(targets, self.target_mean)
        self.target_mean.copy_(mean)
        self.target_std.copy_(std)

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size) and labels float (B, K) → Loss."""
        outputs = at_least_float32(self.backbone(batch["images"]))
        truth = standardized(batch["labels"], outputs, self.target_mean, self.target_std)
        losses = self.loss(outputs, truth, reduction="none").mean(1)
        error = ((outputs.detach() - truth).abs() * self.target_std).mean()
        return Loss(weighted_mean(losses, batch.weights), {"mae": error})

    def predictor(self, backbone: Backbone) -> Callable[[Batch], Tensor]:
        """backbone → function of a batch with images → numbers (B, K) in their units."""
        return lambda batch: backbone(batch["images"]) * self.target_std + self.target_mean

    @torch.no_grad()
    def finish(self, backbone: Backbone) -> None:
        """Rewrites a head of standardized numbers into one of numbers in their units.

        Args:
            backbone: the backbone whose head is rewritten.
        """
        for layer in _last_layers(backbone):
            layer.weight.mul_(self.target_std[:, None])
            layer.bias.mul_(self.target_std).add_(self.target_mean)


def _last_layers(backbone: Backbone) -> list[nn.Linear]:
    """The linear layers whose outputs, or the mean of whose outputs, are those of the model."""
    width = backbone.num_classes
    layers = [m for m in backbone.head.modules() if isinstance(m, nn.Linear)]
    layers = [layer for layer in layers if width and layer.out_features == width]
    if not layers:
        raise ConfigError(
            f"Regression needs a model with a linear head, and this {type(backbone).__name__} has "
            "none: give num_classes, or choose another model."
        )
    return layers
