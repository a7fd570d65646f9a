"""DeiT: "Training data-efficient image transformers & distillation through attention"
(Touvron et al. 2020, https://arxiv.org/abs/2012.12877).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D)
          └ [class token, distillation token, patches] + position ─ (B, 2 + N, D)
              └ depth × Block(Attention, Mlp)
                  └ norm ─┬ class token ────── (B, D) ─ head.cls ──┬ mean ─ (B, classes)
                          └ distillation token (B, D) ─ head.dist ─┘

DeiT differs from ViT in a second prefix token, whose own head learns from a teacher. At inference
the logits of the two heads are averaged. Without that token DeiT is a ViT: see "deit_*" in
`vit.py`.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.heads import TokenDistillationHeads
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import PositionTable
from vitrail.layers.tokens import Token
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class DeiT(SequenceBackbone):
    """Data-efficient image transformer with a distillation token (Touvron et al. 2020).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other that patches divide.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head, so that `forward` gives pooled features.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        channels: number of channels of an image.
        pool: "both" averages the logits of a head on each prefix token, as in the paper; "cls" has
            a head on the class token only.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        antialias: whether positions are resampled with antialiasing, as timm does.
        norm_eps: epsilon of every LayerNorm. transformers' weights need 1e-12.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = DeiT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> pooled = model.pool(model.features(torch.zeros(2, 3, 32, 32)))
        >>> pooled.shape, model.head(pooled).shape
        (torch.Size([2, 32]), torch.Size([2, 5]))
    """

    paper = Paper(
        "Training data-efficient image transformers & distillation through attention",
        "Touvron et al.",
        2020,
        "https://arxiv.org/abs/2012.12877",
        change="Learns from ImageNet alone; a distillation token learns from a teacher.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: PositiveInt,
        depth: PositiveInt,
        heads: PositiveInt,
        mlp_dim: PositiveInt,
        channels: PositiveInt = 3,
        pool: Literal["both", "cls"] = "both",
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        antialias: bool = False,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        patch = to_tuple(patch_size)
        self.dim, self.pool_kind = dim, pool
        self.grid = patch_grid(self.image_size, patch)

        # As in the authors' code, the projection starts as PyTorch's convolutions do.
        self.patch_embed = PatchEmbed(patch, channels, dim, init="torch")
        self.class_token = Token(1, dim)
        self.distillation_token = Token(1, dim)
        self.position = PositionTable(self.grid, dim, prefix=2, antialias=antialias)
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Attention(dim, heads, dropout=dropout, norm_eps=norm_eps),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, 2, D)."""
        patches, grid = self.patch_embed(images)
        batch, positions = patches.shape[0], self.position(grid)
        prefix = torch.cat([self.class_token(batch), self.distillation_token(batch)], dim=1)
        patches = self.emb_dropout(patches + positions[:, 2:])
        return Features(patches, self.emb_dropout(prefix + positions[:, :2]), grid)

    def pool(self, features: Features) -> Tensor:
        """Features → both prefix tokens, concatenated (B, 2 D), or the class token (B, D)."""
        return features.prefix.flatten(1) if self.pool_kind == "both" else features.prefix[:, 0]

    @property
    def pooled_dim(self) -> int:
        """2 D, or D for "cls"."""
        return 2 * self.dim if self.pool_kind == "both" else self.dim

    def make_head(self, num_classes: int) -> nn.Module:
        """num_classes → a head per prefix token, or one for "cls"; `nn.Identity` for 0 classes."""
        if num_classes and self.pool_kind == "both":
            cls, dist = (nn.Linear(self.dim, num_classes) for _ in range(2))
            return TokenDistillationHeads(cls, dist)
        return super().make_head(num_classes)


def _variant(parameters: int, dim: int, heads: int) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000,
        "dim": dim, "depth": 12, "heads": heads, "mlp_dim": 4 * dim,
    }  # fmt: skip
    return Variant(keywords, parameters)


# Published parameters, dim, heads.
VARIANTS = {
    "deit_tiny_distilled_patch16_224": _variant(5_910_800, 192, 3),
    "deit_small_distilled_patch16_224": _variant(22_436_432, 384, 6),
    "deit_base_distilled_patch16_224": _variant(87_338_192, 768, 12),
}
