"""Vision Transformer: "An Image is Worth 16x16 Words" (Dosovitskiy et al. 2020,
https://arxiv.org/abs/2010.11929), and DINOv2's (Oquab et al. 2023,
https://arxiv.org/abs/2304.07193), which is the same network with LayerScale.

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D)
          └ [class token, patches] + position ─ (B, 1 + N, D), then registers ─ (B, P + N, D)
              └ depth × Block(Attention, Mlp)
                  └ norm ─ pool ─ (B, D) ─ head ─ (B, classes)

A signal (B, C, L) and a video or volume (B, C, T, H, W) are cut on one or three axes instead of
two; only positions differ.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, RotatedBlock, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.norm import RMSNorm
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import (
    PositionTable,
    Rotation,
    rotation,
    select_rotation,
    sincos_positions,
)
from vitrail.layers.tokens import Token
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size

ROPE_THETA = 10_000.0  # of the residual, as in Vision Mamba


class ViT(SequenceBackbone):
    """Vision Transformer (Dosovitskiy et al. 2020).

    Args:
        image_size: pixels (height, width), or one number for both; (length,) for signals and
            spectra, (frames, height, width) for videos and volumes. Positions are learned for this
            size and resampled for any other that patches divide.
        patch_size: pixels of a patch on the same axes; one number for all.
        num_classes: width of the logits; 0 for no head, so that `forward` gives pooled features.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        channels: number of channels of an image.
        pool: "cls" reads the class token; "mean" averages the patches, without a class token;
            "cls_mean" concatenates both, as DINOv2's classifiers do.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        position: "learned", a table; "sincos", fixed; "rope", rotations of queries and keys.
        antialias: whether learned positions are resampled with antialiasing, as timm and DINOv2
            with registers do; images only.
        class_position: whether the class token has a learned position of its own.
        registers: number of register tokens (Darcet et al. 2023,
            https://arxiv.org/abs/2309.16588).
        qk_norm: whether queries and keys are normalized.
        layer_scale: initial factor of LayerScale; None for no LayerScale.
        norm_eps: epsilon of every norm. transformers' ViT weights need 1e-12.
        reference_size: image size to whose grid rotations are scaled, so that their angles stay
            those of training at another `image_size`; None for `image_size`. Rotations only.
        residual_rope: whether all patches are rotated by their positions before every block, as
            Vision Mamba's rope="residual" does: block l computes x ← R x, then the block of x. R
            rotates pairs of the D channels by angles proportional to row and column. The skip
            connection carries the rotation on, so that what block k added is rotated l - k times
            by block l. It goes with any `position`.
        class_token: whether there is a class token; None: where `pool` reads it. With pool="mean" a
            token that nothing reads remains in attention, as in MAE's fine-tuning.
        norm_after_pool: whether the last norm is after the pooling, as in MAE's fine-tuning and
            timm's global_pool="avg", and not before it.
        norm: "layer" for LayerNorm, "rms" for RMSNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = ViT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "An Image is Worth 16x16 Words",
        "Dosovitskiy et al.",
        2020,
        "https://arxiv.org/abs/2010.11929",
        change="An image is a sequence of patches, read by a plain transformer.",
    )
    axes = (2, 1, 3)
    after_blocks = ("norm", "pool_norm", "head")

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
        pool: Literal["cls", "mean", "cls_mean"] = "cls",
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        position: Literal["learned", "sincos", "rope"] = "learned",
        antialias: bool = False,
        class_position: bool = True,
        registers: NonNegativeInt = 0,
        qk_norm: bool = False,
        layer_scale: float | None = None,
        norm_eps: PositiveFloat = 1e-6,
        reference_size: Size | None = None,
        residual_rope: bool = False,
        norm: Literal["layer", "rms"] = "layer",
        class_token: bool | None = None,
        norm_after_pool: bool = False,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        if antialias and len(self.image_size) != 2:
            raise ConfigError(
                f"antialias=True is for images, and image_size={self.image_size} has "
                f"{len(self.image_size)} axes: set antialias=False."
            )
        if class_token is None:
            class_token = pool != "mean"
        if pool != "mean" and not class_token:
            raise ConfigError(f'pool={pool!r} reads the class token: set pool="mean".')
        patch = to_tuple(patch_size, len(self.image_size))
        self.dim, self.heads, self.pool_kind, self.position_kind = dim, heads, pool, position
        self.grid = patch_grid(self.image_size, patch)
        reference = to_tuple(reference_size or self.image_size, len(self.image_size))
        self.reference_grid = patch_grid(reference, patch)

        self.patch_embed = PatchEmbed(patch, channels, dim)
        self.class_token = Token(1, dim) if class_token else None
        self.registers = Token(registers, dim) if registers else None
        if position == "learned":
            prefix = int(class_position and class_token)
            self.position = PositionTable(self.grid, dim, prefix=prefix, antialias=antialias)
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.residual_rope = residual_rope

        def make_norm(dim: int) -> nn.Module:
            return (RMSNorm if norm == "rms" else nn.LayerNorm)(dim, eps=norm_eps)

        self.blocks = nn.ModuleList(
            (RotatedBlock if residual_rope else Block)(
                dim,
                Attention(dim, heads, dropout=dropout, qk_norm=qk_norm, norm_eps=norm_eps),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                layer_scale=layer_scale,
                norm=make_norm,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.Identity() if norm_after_pool else make_norm(dim)
        self.pool_norm = make_norm(self.pooled_dim) if norm_after_pool else nn.Identity()
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, *size) → patches (B, N, D) with positions, prefix (B, P, D)."""
        patches, prefix, grid, *_ = self.embed_without_positions(images)
        if self.position_kind == "learned":
            positions, count = self.position(grid), self.position.prefix
            patches = patches + positions[:, count:]
            if count:
                prefix = torch.cat([prefix[:, :count] + positions[:, :count], prefix[:, count:]], 1)
        elif self.position_kind == "sincos":
            patches = patches + sincos_positions(grid, self.dim).to(patches)
        return Features(self.emb_dropout(patches), self.emb_dropout(prefix), grid)

    def embed_without_positions(self, images: Tensor) -> Features:
        """images (B, C, *size) → patches (B, N, D), prefix (B, P, D), both without positions."""
        patches, grid = self.patch_embed(images)
        tokens = [t(patches.shape[0]) for t in (self.class_token, self.registers) if t is not None]
        return Features(patches, torch.cat(tokens, dim=1) if tokens else patches[:, :0], grid)

    def context(
        self, features: Features, bias: Tensor | None = None
    ) -> tuple[Rotation | Tensor | None, ...]:
        """Features → rotations of the tokens that remain, each (P + N, width), where there are any.

        First those of the residual, over all D channels, then those of the heads; last, where there
        is one, a bias of the attention logits, whose shape expands to (B, heads, P + N, P + N).
        """
        context: tuple[Rotation | Tensor | None, ...] = ()
        if self.residual_rope:
            cos, sin = self._rotation(features, self.dim, ROPE_THETA)
            if features.keep_indices is not None:  # the residual has no heads
                cos, sin = cos[:, 0], sin[:, 0]
            context = ((cos, sin),)
        if self.position_kind == "rope":
            context = *context, self._rotation(features, self.dim // self.heads)
        if bias is not None:
            context = *context, *(() if self.position_kind == "rope" else (None,)), bias
        return context

    def _rotation(self, features: Features, width: int, theta: float = 100.0) -> Rotation:
        """(P + N, width) or, where patches were dropped, (B, 1, P + K, width)."""
        prefix = features.prefix.shape[1]
        tables = rotation(features.grid, self.reference_grid, width, prefix=prefix, theta=theta)
        if features.keep_indices is not None:
            tables = select_rotation(tables, features.keep_indices, prefix)
        cos, sin = (t.to(features.patches) for t in tables)
        return cos, sin

    def pool(self, features: Features) -> Tensor:
        """Features → (B, D), or (B, 2 D) for "cls_mean"."""
        if self.pool_kind == "cls":
            return self.pool_norm(features.prefix[:, 0])
        pooled = features.patches.mean(dim=1)
        if self.pool_kind == "cls_mean":
            pooled = torch.cat([features.prefix[:, 0], pooled], dim=1)
        return self.pool_norm(pooled)

    @property
    def pooled_dim(self) -> int:
        """D, or 2 D for "cls_mean"."""
        return 2 * self.dim if self.pool_kind == "cls_mean" else self.dim


def _variant(parameters: int, patch: int, dim: int, depth: int, heads: int, **more: Any) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": patch, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim,
    }  # fmt: skip
    return Variant({**keywords, **more}, parameters)


DINOV2 = {"image_size": 518, "num_classes": 0, "layer_scale": 1.0}

# Published parameters, patch size, dim, depth, heads. DeiT without its distillation token
# (https://arxiv.org/abs/2012.12877) is the same network, better trained. DINOv2's published files
# also hold a mask token, which serves its pretraining only: it is not counted here.
VARIANTS = {
    "vit_tiny_patch16_224": _variant(5_717_416, 16, 192, 12, 3),
    "vit_small_patch16_224": _variant(22_050_664, 16, 384, 12, 6),
    "vit_base_patch16_224": _variant(86_567_656, 16, 768, 12, 12),
    "vit_base_patch32_224": _variant(88_224_232, 32, 768, 12, 12),
    "vit_large_patch16_224": _variant(304_326_632, 16, 1024, 24, 16),
    "vit_huge_patch14_224": _variant(632_045_800, 14, 1280, 32, 16),
    "deit_tiny_patch16_224": _variant(5_717_416, 16, 192, 12, 3),
    "deit_small_patch16_224": _variant(22_050_664, 16, 384, 12, 6),
    "deit_base_patch16_224": _variant(86_567_656, 16, 768, 12, 12),
    "dinov2_small": _variant(22_056_192, 14, 384, 12, 6, **DINOV2),
    "dinov2_base": _variant(86_579_712, 14, 768, 12, 12, **DINOV2),
    "dinov2_large": _variant(304_367_616, 14, 1024, 24, 16, **DINOV2),
}
