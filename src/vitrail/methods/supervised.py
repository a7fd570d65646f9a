"""Supervised classification: cross-entropy with label smoothing (Szegedy et al. 2015,
https://arxiv.org/abs/1512.00567).
"""

from torch import Tensor

from vitrail.methods.base import Batch, Loss, Method
from vitrail.methods.class_loss import ClassLoss, ClassWeights
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.values import NonNegativeFloat, Rate


class Supervised(Method):
    """Supervised training of the whole backbone on labels.

    Args:
        backbone: model to train, with a head.
        label_smoothing: probability that is taken from the label and spread evenly over all
            classes.
        class_weights: what an error of each class costs: "equal"; "balanced" for the inverse of how
            often the class occurs in training; or one number per class.
        focal: exponent of the focal loss (Lin et al. 2017), by which well classified samples count
            less; 0 for none, 2 in the paper.

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
    weighs_samples = True

    def __init__(
        self,
        backbone: Backbone,
        label_smoothing: Rate = 0.1,
        class_weights: ClassWeights = "equal",
        focal: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__(backbone)
        self.class_loss = ClassLoss(backbone.num_classes, label_smoothing, class_weights, focal)

    def fit_targets(self, targets: Tensor) -> None:
        """targets (N,) of all training samples → weights of the classes, if they are balanced."""
        self.class_loss.fit_targets(targets)

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size) and labels (B,) or (B, classes) → Loss."""
        return self.class_loss(self.backbone(batch["images"]), batch)
