"""Attentive probe: a classifier that attends over a frozen backbone's patches (CAE, Chen et al.
2022, https://arxiv.org/abs/2202.03026; V-JEPA, Bardes et al. 2024,
https://arxiv.org/abs/2404.08471, adds the MLP).

    patches (B, N, D) ─ norm ─┐
    query (1, 1, D) ──────── cross-attention ─ + query ─ MLP ─ norm ─ linear ─ logits (B, classes)

A mean of patches, or a class token that was never trained with labels, gives a linear classifier
little of what masked pretraining learned. This probe learns where to look.
"""

import math

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import CrossAttention
from vitrail.layers.mlp import Mlp
from vitrail.layers.tokens import Token
from vitrail.methods.base import Batch, Loss, Method
from vitrail.methods.class_loss import ClassLoss, ClassWeights
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.models.parameters import initialize
from vitrail.values import NonNegativeFloat, PositiveInt, Rate


class AttentiveProbe(Method):
    """Trains one attention pooling and one linear layer on frozen patches.

    The backbone that comes out has no head; the probe is saved beside it.

    Args:
        backbone: model with classes; it is frozen.
        heads: number of attention heads.
        mlp_ratio: hidden width of the MLP, relative to the patches' width; 0 for no MLP.
        label_smoothing: probability that is spread evenly over all classes.
        class_weights: what an error of each class costs: "equal"; "balanced" for the inverse of how
            often the class occurs in training; or one number per class.
        focal: exponent of the focal loss (Lin et al. 2017); 0 for none.

    Raises:
        ConfigError: the model has no classes.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> probe = AttentiveProbe(model, heads=2)
        >>> probe(Batch(images=torch.zeros(2, 3, 8, 8), labels=torch.tensor([0, 1]))).loss.shape
        torch.Size([])
    """

    paper = Paper(
        "Context Autoencoder for Self-Supervised Representation Learning",
        "Chen et al.",
        2022,
        "https://arxiv.org/abs/2202.03026",
        change="A learned query attends to frozen patches before the classifier.",
    )
    weighs_samples = True

    def __init__(
        self,
        backbone: Backbone,
        heads: PositiveInt = 8,
        mlp_ratio: NonNegativeFloat = 4.0,
        label_smoothing: Rate = 0.1,
        class_weights: ClassWeights = "equal",
        focal: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__(backbone)
        classes = backbone.num_classes or len(backbone.labels or ())
        if not classes:
            raise ConfigError("AttentiveProbe needs classes: give the model num_classes.")
        backbone.reset_head(0)
        if backbone.labels is None:  # by which a saved probe knows how many classes it has
            backbone.labels = [str(number) for number in range(classes)]
        backbone.requires_grad_(False).eval()
        like = next(backbone.parameters())
        with torch.no_grad():
            image = like.new_zeros(1, backbone.channels, *backbone.image_size)
            dim = backbone.features(image).patches.shape[-1]
        self.probe = AttentiveClassifier(dim, heads, math.ceil(dim * mlp_ratio), classes)
        initialize(self.probe.to(like))
        self.class_loss = ClassLoss(classes, label_smoothing, class_weights, focal)

    def train(self, mode: bool = True) -> "AttentiveProbe":
        """Sets the mode of the probe; the frozen backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def fit_targets(self, targets: Tensor) -> None:
        """targets (N,) of all training samples → weights of the classes, if they are balanced."""
        self.class_loss.fit_targets(targets)

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size) and labels (B,) or (B, classes) → Loss."""
        with torch.no_grad():
            patches = self.backbone.features(batch["images"]).patches
        return self.class_loss(self.probe(patches), batch)

    def classifier(self, backbone: Backbone) -> nn.Module:
        """backbone → images (B, C, *size) → logits, by the probe on this backbone's patches."""
        return ProbedBackbone(backbone, self.probe)


class AttentiveClassifier(nn.Module):
    """A learned query that pools patches by cross-attention, and a linear classifier.

    Args:
        dim: width D of the patches.
        heads: number of attention heads.
        hidden_dim: hidden width of the MLP; 0 for no MLP.
        classes: width of the logits.

    Example:
        >>> AttentiveClassifier(8, 2, 16, classes=3)(torch.zeros(2, 4, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, dim: int, heads: int, hidden_dim: int, classes: int) -> None:
        super().__init__()
        self.query = Token(1, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = CrossAttention(dim, heads)
        self.mlp_norm = nn.LayerNorm(dim) if hidden_dim else None
        self.mlp = Mlp(dim, hidden_dim) if hidden_dim else None
        self.head = nn.Linear(dim, classes)

    def forward(self, patches: Tensor) -> Tensor:
        """patches (B, N, D) → logits (B, classes)."""
        query = self.query(patches.shape[0])
        x = query + self.attention(query, self.norm1(patches))
        if self.mlp is not None and self.mlp_norm is not None:
            x = x + self.mlp(self.mlp_norm(x))
        return self.head(self.norm2(x)[:, 0])


class ProbedBackbone(nn.Module):
    """A backbone with a classifier of its patches.

    Args:
        backbone: model whose patches are classified.
        probe: module from patches (B, N, D) to logits (B, classes).

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=0, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> probe = AttentiveClassifier(8, 2, 0, classes=3)
        >>> ProbedBackbone(model, probe)(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, backbone: Backbone, probe: AttentiveClassifier) -> None:
        super().__init__()
        self.backbone, self.probe = backbone, probe

    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → logits (B, classes)."""
        return self.probe(self.backbone.features(images).patches)
