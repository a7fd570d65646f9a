"""Linear probe: a linear layer on the features of a frozen backbone (Alain & Bengio 2016,
https://arxiv.org/abs/1610.01644).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.dtypes import at_least_float32
from vitrail.methods.base import Batch, Loss, Method
from vitrail.methods.class_loss import ClassLoss, ClassWeights
from vitrail.methods.logistic import fit_logistic, fit_ridge
from vitrail.methods.multi_label import decide, weighted_mean
from vitrail.methods.targets import (
    class_targets,
    require_outputs,
    row_targets,
    standardization,
    standardized,
)
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.values import NonNegativeFloat, PositiveFloat, Rate


class LinearProbe(Method):
    """Trains only the head, on pooled features that were computed once.

    The features are standardized by the mean and standard deviation of the training set while the
    head learns. `finish` then rewrites the head, so that it reads features as they are.

    Args:
        backbone: model with one linear head; everything else is frozen.
        label_smoothing: probability that is taken from the label and spread evenly over all
            classes.
        class_weights: what an error of each class costs: "equal"; "balanced" for the inverse of how
            often the class occurs in training; or one number per class.
        focal: exponent of the focal loss (Lin et al. 2017); 0 for none.
        start: what training starts from: "head", the head as it is; "logistic", the logistic
            regression of all training features, at its optimum, or the ridge regression of numbers.
            A learning rate of 0 keeps it.
        penalty: of the logistic regression, the factor on ‖W‖² / 2 beside the mean cross-entropy;
            of the ridge regression, on ‖W‖² beside the mean squared error. None chooses it by
            training images that are held out.
        target: what a label is: "class", one class; "labels", any number of labels; "numbers",
            which the head learns by the squared error.

    Raises:
        ConfigError: the head is not one linear layer, or the start does not go with the loss.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> probe = LinearProbe(model)
        >>> data = Batch(features=torch.randn(6, 8), labels=torch.arange(6) % 2)
        >>> probe.fit_statistics(data)
        >>> probe(data).loss.shape
        torch.Size([])
    """

    paper = Paper(
        "Understanding intermediate layers using linear classifier probes",
        "Alain & Bengio",
        2016,
        "https://arxiv.org/abs/1610.01644",
        change="A linear classifier on frozen features tells what a layer holds.",
    )
    inputs = ("features", "labels")
    weighs_samples = True
    training_only = ("feature_mean", "feature_std", "target_mean", "target_std")

    feature_mean: Tensor  # (D,)
    feature_std: Tensor  # (D,)
    target_mean: Tensor  # (K,), of numbers
    target_std: Tensor  # (K,)

    def __init__(
        self,
        backbone: Backbone,
        label_smoothing: Rate = 0.1,
        class_weights: ClassWeights = "equal",
        focal: NonNegativeFloat = 0.0,
        start: Literal["head", "logistic"] = "head",
        penalty: PositiveFloat | None = None,
        target: Literal["class", "labels", "numbers"] = "class",
    ) -> None:
        super().__init__(backbone)
        if not isinstance(backbone.head, nn.Linear):
            raise ConfigError(
                f"LinearProbe needs a model with one linear head, and this "
                f"{type(backbone).__name__} has another: choose another method or model."
            )
        if start == "logistic" and (class_weights != "equal" or focal):
            raise ConfigError(
                "start='logistic' weighs all classes alike: leave class_weights and focal out, or "
                "start from the head."
            )
        if target != "class" and (class_weights != "equal" or focal):
            raise ConfigError(
                f"target={target!r} has no classes: leave class_weights and focal out."
            )
        self.start, self.penalty, self.target = start, penalty, target
        self.class_loss = ClassLoss(backbone.num_classes, label_smoothing, class_weights, focal)
        like = backbone.head.weight
        self.register_buffer("feature_mean", like.new_zeros(backbone.pooled_dim))
        self.register_buffer("feature_std", like.new_ones(backbone.pooled_dim))
        self.register_buffer("target_mean", like.new_zeros(backbone.num_classes))
        self.register_buffer("target_std", like.new_ones(backbone.num_classes))
        backbone.freeze()

    @torch.no_grad()
    def fit_statistics(self, data: Batch) -> None:
        """Measures the mean and standard deviation that features are standardized by.

        With the start "logistic" the head becomes the regression of the features.

        Args:
            data: `features` (N, D) and `labels` (N,) or (N, K) of the whole training set.

        Raises:
            ConfigError: samples have weights, which the regression does not know.
        """
        if self.start == "logistic" and data.weights is not None:
            raise ConfigError(
                "start='logistic' weighs all samples alike: leave their weights out, or start from "
                "the head."
            )
        values = data["features"].to(self.feature_mean.dtype)
        # One sample deviates from no other.
        std, mean = torch.std_mean(values, dim=0, correction=min(1, len(values) - 1))
        self.feature_mean.copy_(mean)
        # A feature that is constant in training tells nothing; rounding gives it a tiny deviation.
        constant = std <= 1e-6 * values.abs().amax(dim=0).clamp(min=1e-6)
        self.feature_std.copy_(std.masked_fill(constant, 1.0))
        if self.start == "logistic":
            head = self.backbone.head
            assert isinstance(head, nn.Linear)
            features, labels = self._standardize(values), data["labels"]
            if self.target == "class":
                labels = class_targets(labels, head(features))
            else:
                labels = row_targets(labels, head(features))
            if self.target == "numbers":
                values = (labels - self.target_mean) / self.target_std
                weight, bias = fit_ridge(features, values, self.penalty)[:2]
            else:
                weight, bias = fit_logistic(features, labels, head.out_features, self.penalty)[:2]
            head.weight.copy_(weight)
            head.bias.copy_(bias)

    @torch.no_grad()
    def fit_targets(self, targets: Tensor) -> None:
        """Weighs classes, if they are balanced, or measures what numbers are standardized by.

        Args:
            targets: (N,) or (N, K) of all training samples.
        """
        if self.target == "class":
            self.class_loss.fit_targets(targets)
        if self.target == "numbers":
            mean, std = standardization(targets, self.target_mean)
            self.target_mean.copy_(mean)
            self.target_std.copy_(std)

    def forward(self, batch: Batch) -> Loss:
        """Batch with features (B, D) and labels (B,) or (B, K) → Loss."""
        require_outputs(self.backbone.num_classes)
        outputs = self.backbone.head(self._standardize(batch["features"]))
        if self.target == "class":
            return self.class_loss(outputs, batch)
        if self.target == "labels":
            return decide(outputs, batch, self.class_loss.label_smoothing)
        outputs = at_least_float32(outputs)
        truth = standardized(batch["labels"], outputs, self.target_mean, self.target_std)
        error = outputs - truth
        mae = (error.detach().abs() * self.target_std).mean()
        return Loss(weighted_mean(error.square().mean(1), batch.weights), {"mae": mae})

    def predictor(self, backbone: Backbone) -> Callable[[Batch], Tensor]:
        """backbone → function of a batch with features (B, D) → logits, or numbers in their units
        (B, K)."""

        def predict(batch: Batch) -> Tensor:
            outputs = backbone.head(self._standardize(batch["features"]))
            return outputs * self.target_std + self.target_mean  # 1 and 0 but for numbers

        return predict

    @torch.no_grad()
    def finish(self, backbone: Backbone) -> None:
        """Rewrites a head of standardized features, and numbers, into one of them as they are.

        Args:
            backbone: the backbone whose head is rewritten.
        """
        head = backbone.head
        assert isinstance(head, nn.Linear)
        head.weight.mul_(self.target_std[:, None])
        head.bias.mul_(self.target_std).add_(self.target_mean)
        head.weight.div_(self.feature_std)
        head.bias.sub_(head.weight @ self.feature_mean)

    def _standardize(self, features: Tensor) -> Tensor:
        return (features.to(self.feature_mean.dtype) - self.feature_mean) / self.feature_std
