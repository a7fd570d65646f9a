"""DeiT: "Training data-efficient image transformers & distillation through attention"
(Touvron et al. 2020, https://arxiv.org/abs/2012.12877).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ [class token, distillation token, patches] ─ (B, 2 + N, D)
              └ depth × Block(Attention, Mlp)
                  └ norm ─┬ class token ────── (B, D) ─ head.cls ──┬ mean ─ (B, classes)
                          └ distillation token (B, D) ─ head.dist ─┘

Differs from ViT: a second summary token whose own head learns from a teacher; at inference the two
heads' logits are averaged. Both tokens' positions are folded into them (see `vit.py`), so two D of
the published parameters are absent. Without the token DeiT is ViT: "deit_*" in `vit.py`.
"""

import torch
from torch import Tensor, nn

from vitrail.errors import check_choice
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.heads import TokenDistillationHeads
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import LEARNED, resize_positions
from vitrail.models.base import Features, SequenceBackbone, Variant
from vitrail.models.paper import Paper


class DeiT(SequenceBackbone):
    """A Vision Transformer with a class token and a distillation token.

    Keywords as those of `ViT`; `position` is learned either way. `pool`: "both" (the paper's)
    averages the logits of both tokens' heads; "cls" has a head on the class token alone.
    """

    paper = Paper(
        "Training data-efficient image transformers & distillation through attention",
        "Touvron et al.",
        2020,
        "https://arxiv.org/abs/2012.12877",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int | tuple[int, int],
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        channels: int = 3,
        pool: str = "both",
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        position: str = "learned",
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_choice("pool", pool, ("both", "cls"))
        check_choice("position", position, tuple(LEARNED))
        patch = to_tuple(patch_size)
        self.dim, self.pool_kind, self.position_kind = dim, pool, position
        self.grid = patch_grid(self.image_size, patch)

        self.patch_embed = PatchEmbed(patch, channels, dim)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        self.distillation_token = nn.Parameter(torch.empty(1, 1, dim))
        self.position = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1], dim))
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
        patches = patches + self.positions_at(grid)
        prefix = torch.cat([self.class_token, self.distillation_token], dim=1)
        prefix = prefix.expand(patches.shape[0], -1, -1)
        return Features(self.emb_dropout(patches), self.emb_dropout(prefix), grid)

    def positions_at(self, grid: tuple[int, ...]) -> Tensor:
        """(1, N, D) for a grid of N patches."""
        antialias = LEARNED[self.position_kind]
        return resize_positions(self.position, self.grid, grid, antialias)

    def pool(self, features: Features) -> Tensor:
        """Features → class and distillation token side by side (B, 2 D), or the first (B, D)."""
        return features.prefix.flatten(1) if self.pool_kind == "both" else features.prefix[:, 0]

    @property
    def pooled_dim(self) -> int:
        """2 D, or D for "cls"."""
        return 2 * self.dim if self.pool_kind == "both" else self.dim

    def make_head(self, num_classes: int) -> nn.Module:
        """Two linear heads, or one for "cls"; no classes, no head."""
        if num_classes and self.pool_kind == "both":
            cls, dist = (nn.Linear(self.dim, num_classes) for _ in range(2))
            return TokenDistillationHeads(cls, dist)
        return super().make_head(num_classes)


def _variant(parameters: int, dim: int, heads: int) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000,
        "dim": dim, "depth": 12, "heads": heads, "mlp_dim": 4 * dim,
    }  # fmt: skip
    return Variant(keywords, parameters, absent=2 * dim)


VARIANTS = {
    "deit_tiny_distilled_patch16_224": _variant(5_910_800, 192, 3),
    "deit_small_distilled_patch16_224": _variant(22_436_432, 384, 6),
    "deit_base_distilled_patch16_224": _variant(87_338_192, 768, 12),
}
