"""Vision Transformer: "An Image is Worth 16x16 Words" (Dosovitskiy et al. 2020,
https://arxiv.org/abs/2010.11929), and DINOv2's (Oquab et al. 2023,
https://arxiv.org/abs/2304.07193), which is the same network with LayerScale.

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ [class token, registers, patches] ─ (B, P + N, D)
              └ depth × Block(Attention, Mlp)
                  └ norm ─ pool ─ (B, D) ─ head ─ (B, classes)

Differs from the paper in one thing that changes no output: the class token has no position of its
own. A learned constant plus a learned constant is one learned constant, so loading folds the two,
and positions belong to patches alone. This is why `VARIANTS` counts one D of published parameters
as absent (and one more for DINOv2, whose mask token serves its pretraining only).

A signal (B, C, L) and a video or volume (B, C, T, H, W) are cut on one or three axes instead of
two; only positions know the difference.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.errors import check_choice
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import (
    LEARNED,
    Rotation,
    keep_rotation,
    resize_positions,
    rotation,
    sincos_positions,
)
from vitrail.models.base import Features, SequenceBackbone, Variant
from vitrail.models.paper import Paper


class ViT(SequenceBackbone):
    """A Vision Transformer.

    Args:
        image_size: pixels (height, width), or one number for both; (length,) for signals and
            spectra, (frames, height, width) for videos and volumes. The grid that positions are
            learned on; any other size that patches divide works too, by resampling them.
        patch_size: of a patch, on the same axes; one number for all.
        num_classes: width of the logits; 0 for none, then `forward` gives pooled features.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the MLP.
        channels: of the image.
        pool: "cls" reads the class token; "mean" averages the patches, and there is no class
            token; "cls+mean" reads both side by side, as DINOv2's classifiers do.
        dropout: on attention weights, projections and MLPs. emb_dropout: on embedded tokens.
        drop_path: stochastic depth of the last block; grows linearly from 0 at the first.
        position: "learned" table, resampled for other sizes as DINOv2 does, or
            "learned+antialias", as timm and DINOv2 with registers do, of images only; "sincos",
            fixed; "rope", rotations of queries and keys.
        registers: extra prefix tokens (Darcet et al. 2023, https://arxiv.org/abs/2309.16588).
        qk_norm: LayerNorm on queries and keys. layer_scale: its initial factor; None for none.
        norm_eps: of every LayerNorm. transformers' ViT weights need 1e-12.

    Raises:
        ConfigError: a keyword is unknown or does not fit another. DataError: an image does not fit.
    """

    paper = Paper(
        "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        "Dosovitskiy et al.",
        2020,
        "https://arxiv.org/abs/2010.11929",
    )

    axes = (2, 1, 3)

    def __init__(
        self,
        image_size: int | tuple[int, ...],
        patch_size: int | tuple[int, ...],
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        channels: int = 3,
        pool: str = "cls",
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        position: str = "learned",
        registers: int = 0,
        qk_norm: bool = False,
        layer_scale: float | None = None,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_choice("pool", pool, ("cls", "mean", "cls+mean"))
        learned = tuple(LEARNED) if len(self.image_size) == 2 else ("learned",)
        check_choice("position", position, (*learned, "sincos", "rope"))
        patch = to_tuple(patch_size, len(self.image_size))
        self.dim, self.pool_kind, self.position_kind = dim, pool, position
        self.grid = patch_grid(self.image_size, patch)

        self.patch_embed = PatchEmbed(patch, channels, dim)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim)) if pool != "mean" else None
        self.registers = nn.Parameter(torch.empty(1, registers, dim)) if registers else None
        if position in LEARNED:
            self.position = nn.Parameter(torch.empty(1, math.prod(self.grid), dim))
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Attention(dim, heads, dropout=dropout, qk_norm=qk_norm, norm_eps=norm_eps),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                layer_scale=layer_scale,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, *size) → patches (B, N, D) with positions, prefix (B, P, D)."""
        patches, grid = self.patch_embed(images)
        learned = self.positions_at(grid)
        if learned is not None:
            patches = patches + learned
        elif self.position_kind == "sincos":
            patches = patches + sincos_positions(grid, self.dim).to(patches)
        tokens: list[Tensor] = [t for t in (self.class_token, self.registers) if t is not None]
        prefix = torch.cat(tokens, dim=1) if tokens else patches.new_empty(1, 0, self.dim)
        prefix = prefix.expand(patches.shape[0], -1, -1)
        return Features(self.emb_dropout(patches), self.emb_dropout(prefix), grid)

    def context(self, features: Features) -> tuple[Rotation, ...]:
        """Rotations (P + N, head_dim) for "rope"; those of kept patches where some were dropped."""
        if self.position_kind != "rope":
            return ()
        prefix = features.prefix.shape[1]
        tables = rotation(features.grid, self.grid, self.dim // self.config["heads"], prefix=prefix)
        if features.keep_indices is not None:
            tables = keep_rotation(tables, features.keep_indices, prefix)
        cos, sin = (t.to(features.patches) for t in tables)
        return ((cos, sin),)

    def positions_at(self, grid: tuple[int, ...]) -> Tensor | None:
        """(1, N, D) for a grid of N patches; None where positions are not learned."""
        if self.position_kind not in LEARNED:
            return None
        antialias = LEARNED[self.position_kind]
        return resize_positions(self.position, self.grid, grid, antialias)

    def pool(self, features: Features) -> Tensor:
        """Features → (B, D), or (B, 2 D) for "cls+mean"."""
        if self.pool_kind == "cls":
            return features.prefix[:, 0]
        mean = features.patches.mean(dim=1)
        return mean if self.pool_kind == "mean" else torch.cat([features.prefix[:, 0], mean], dim=1)

    @property
    def pooled_dim(self) -> int:
        """D, or 2 D for "cls+mean"."""
        return 2 * self.dim if self.pool_kind == "cls+mean" else self.dim


def _variant(
    parameters: int, absent: int, patch: int, dim: int, depth: int, heads: int, **more: Any
) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": patch, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim,
    }  # fmt: skip
    return Variant({**keywords, **more}, parameters, absent)


DINOV2 = {"image_size": 518, "num_classes": 0, "layer_scale": 1.0}

# Published parameters, of which absent, patch size, dim, depth, heads. DeiT without its
# distillation token (https://arxiv.org/abs/2012.12877) is the same network, better trained.
VARIANTS = {
    "vit_tiny_patch16_224": _variant(5_717_416, 192, 16, 192, 12, 3),
    "vit_small_patch16_224": _variant(22_050_664, 384, 16, 384, 12, 6),
    "vit_base_patch16_224": _variant(86_567_656, 768, 16, 768, 12, 12),
    "vit_base_patch32_224": _variant(88_224_232, 768, 32, 768, 12, 12),
    "vit_large_patch16_224": _variant(304_326_632, 1024, 16, 1024, 24, 16),
    "vit_huge_patch14_224": _variant(632_045_800, 1280, 14, 1280, 32, 16),
    "deit_tiny_patch16_224": _variant(5_717_416, 192, 16, 192, 12, 3),
    "deit_small_patch16_224": _variant(22_050_664, 384, 16, 384, 12, 6),
    "deit_base_patch16_224": _variant(86_567_656, 768, 16, 768, 12, 12),
    "dinov2_small": _variant(22_056_576, 2 * 384, 14, 384, 12, 6, **DINOV2),
    "dinov2_base": _variant(86_580_480, 2 * 768, 14, 768, 12, 12, **DINOV2),
    "dinov2_large": _variant(304_368_640, 2 * 1024, 14, 1024, 24, 16, **DINOV2),
}
