"""A classifier that looks for itself at what a frozen backbone makes of each patch: a learned query
attends over them (CAE, Chen et al. 2022, https://arxiv.org/abs/2202.03026; V-JEPA, Bardes et al.
2024, https://arxiv.org/abs/2404.08471, adds the MLP).

    patches (B, N, D) ─ norm ─┐
    query (1, 1, D) ──────── cross-attention ─ + query ─ MLP ─ norm ─ linear ─ logits (B, classes)

A mean of patches, or a class token that no label ever trained, shows a linear classifier little of
what masked pretraining learned; this probe can pick what it needs.
"""

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, check_range
from vitrail.layers.attention import CrossAttention
from vitrail.layers.mlp import Mlp
from vitrail.methods.base import Loss, Method
from vitrail.methods.supervised import classify
from vitrail.models.base import Backbone, initialise
from vitrail.models.paper import Paper


class AttentiveProbe(Method):
    """Trains one attention pooling and one linear layer on frozen patches.

    Args:
        heads: of the attention. mlp_ratio: hidden width of the MLP, in parts of the patches'; 0
            leaves it out.

    What comes out is the backbone without a head; the probe is kept beside it.
    """

    paper = Paper(
        "Context Autoencoder for Self-Supervised Representation Learning",
        "Chen et al.",
        2022,
        "https://arxiv.org/abs/2202.03026",
    )

    def __init__(
        self,
        backbone: Backbone,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        label_smoothing: float = 0.1,
    ) -> None:
        super().__init__(backbone)
        check_range("mlp_ratio", mlp_ratio, 0)
        check_range("label_smoothing", label_smoothing, 0, 0.999)
        self.label_smoothing = label_smoothing
        classes = backbone.num_classes or len(backbone.labels or ())
        if not classes:
            raise ConfigError("an attentive probe needs classes: give the model num_classes.")
        backbone.reset_head(0)
        backbone.requires_grad_(False).eval()
        like = next(backbone.parameters())
        with torch.no_grad():
            image = like.new_zeros(1, backbone.channels, *backbone.image_size)
            dim = backbone.features(image).patches.shape[-1]
        self.probe = AttentivePool(dim, heads, round(dim * mlp_ratio), classes)
        initialise(self.probe.to(like))

    def train(self, mode: bool = True) -> "AttentiveProbe":
        """Sets the mode of the probe; the backbone, which nothing teaches, stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Tensor, targets: Tensor) -> Loss:
        """images float (B, C, *size); targets (B,) or (B, classes)."""
        with torch.no_grad():
            patches = self.backbone.features(images).patches
        return classify(self.probe(patches), targets, self.label_smoothing)

    def classifier(self, backbone: Backbone) -> nn.Module:
        """images → logits, by the probe on this backbone's patches."""
        return Probed(backbone, self.probe)


class AttentivePool(nn.Module):
    """A learned query that pools patches by attention, and a linear classifier of what it finds."""

    def __init__(self, dim: int, heads: int, hidden_dim: int, classes: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(1, 1, dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = CrossAttention(dim, heads)
        self.mlp_norm = nn.LayerNorm(dim) if hidden_dim else None
        self.mlp = Mlp(dim, hidden_dim) if hidden_dim else None
        self.head = nn.Linear(dim, classes)

    def forward(self, patches: Tensor) -> Tensor:
        """patches (B, N, D) → logits (B, classes)."""
        query = self.query.expand(len(patches), -1, -1)
        x = query + self.attention(query, self.norm1(patches))
        if self.mlp is not None and self.mlp_norm is not None:
            x = x + self.mlp(self.mlp_norm(x))
        return self.head(self.norm2(x)[:, 0])


class Probed(nn.Module):
    """A backbone and the probe that reads its patches."""

    def __init__(self, backbone: Backbone, probe: AttentivePool) -> None:
        super().__init__()
        self.backbone, self.probe = backbone, probe

    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → logits (B, classes)."""
        return self.probe(self.backbone.features(images).patches)
