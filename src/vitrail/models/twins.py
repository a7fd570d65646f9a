"""Twins: "Twins: Revisiting the Design of Spatial Attention in Vision Transformers"
(Chu et al. 2021, https://arxiv.org/abs/2104.13840).

    image (B, C, H, W)
      └ patch_embed + norm ─ map (B, H/4, W/4, D₁)
          └ stage 1: Block, ConditionalPosition, further Blocks
              └ stages 2 to 4: patches of 2 × 2 positions ─ (B, H/8, W/8, D₂) ─ blocks, and so on
                  └ norm ─ mean over positions ─ (B, D₄) ─ head ─ (B, classes)

Two models. Twins-PCPVT is PVT whose learned positions are replaced by a convolution after the first
block of each stage, so that any size works that patches divide, and whose class token is replaced
by the mean. Twins-SVT (with `window`) attends within windows in the first of every two blocks, and
to the reduced map in the second: separable, as depthwise and pointwise convolutions are.

A map that windows do not divide is padded with zeros, as the authors do (vit-pytorch refuses it).
"""

from typing import Any

from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.conv import StridedConvNorm
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.pyramid import check_stages
from vitrail.layers.spatial_reduction import ReducedAttention, spatial_reduction
from vitrail.layers.window import WindowAttention
from vitrail.models.base import Variant
from vitrail.models.conditional_pyramid import ConditionalPyramid
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class Twins(ConditionalPyramid):
    """Twins-PCPVT, or Twins-SVT if it has windows (Chu et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Any size works that patches
            divide.
        patch_size: pixels of a patch (height, width) of the first stage, or one number for both;
            later stages take patches of 2 × 2 positions of the stage before.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per stage.
        depth: number of blocks, per stage.
        heads: number of attention heads, per stage.
        window: sides (rows, columns) of a window, or one number for both; None for no windows.
        reduction: per stage, how much coarser the map of keys and values is on each axis.
        mlp_ratio: per stage, hidden width of an MLP divided by the width of the stage.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the patches of every stage.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of the LayerNorms of blocks and of the last one.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = Twins(16, 4, num_classes=5, dim=(8, 16), depth=(2, 1), heads=(1, 2), window=2,
        ...     reduction=(2, 1), mlp_ratio=(2, 2))
        >>> model(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Twins: Revisiting the Design of Spatial Attention in Vision Transformers",
        "Chu et al.",
        2021,
        "https://arxiv.org/abs/2104.13840",
        change="Window and global attention alternate; a convolution gives positions.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        window: Size | None = None,
        reduction: tuple[PositiveInt, ...] = (8, 4, 2, 1),
        mlp_ratio: tuple[PositiveFloat, ...] = (4, 4, 4, 4),
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads, reduction=reduction, mlp_ratio=mlp_ratio)
        patch = to_tuple(patch_size)
        self.dim, self.grid = dim, patch_grid(self.image_size, patch)
        self.strides = tuple(patch[0] * 2**i for i in range(len(depth)))

        def make_mixer(stage: int, index: int) -> nn.Module:
            width, head_count = dim[stage], heads[stage]
            if window is not None and index % 2 == 0:
                attention = Attention(width, head_count, dropout=dropout)
                return WindowAttention(attention, to_tuple(window))
            reduce = spatial_reduction(width, reduction[stage])
            return ReducedAttention(width, head_count, reduce, dropout)

        def make_downsample(stage: int) -> nn.Module:
            coarser = StridedConvNorm(dim[stage - 1], dim[stage], 2, 2)
            return nn.Sequential(coarser, nn.Dropout(emb_dropout))

        self.patch_embed = PatchEmbed(patch, channels, dim[0])
        self.embed_norm = nn.LayerNorm(dim[0])
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.blocks = self.make_stages(
            depth, make_downsample, make_mixer, mlp_ratio=mlp_ratio, dropout=dropout,
            drop_path=drop_path, norm_eps=norm_eps,
        )  # fmt: skip
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix."""
        patches, grid = self.patch_embed(images)
        patches = self.emb_dropout(self.embed_norm(patches))
        return Features(patches, patches[:, :0], grid)


def _variant(parameters: int, depth: tuple[int, ...], **more: Any) -> Variant:
    keywords = {"image_size": 224, "patch_size": 4, "num_classes": 1000, "depth": depth}
    return Variant({**keywords, **more}, parameters)


PCPVT: dict[str, Any] = {
    "dim": (64, 128, 320, 512), "heads": (1, 2, 5, 8), "mlp_ratio": (8, 8, 4, 4),
}  # fmt: skip


def _svt(dim: int) -> dict[str, Any]:
    widths = tuple(dim * 2**i for i in range(4))
    return {"dim": widths, "heads": tuple(width // 32 for width in widths), "window": 7}


VARIANTS = {
    "twins_pcpvt_small": _variant(24_106_216, (3, 4, 6, 3), **PCPVT),
    "twins_pcpvt_base": _variant(43_828_456, (3, 4, 18, 3), **PCPVT),
    "twins_pcpvt_large": _variant(60_989_672, (3, 8, 27, 3), **PCPVT),
    "twins_svt_small": _variant(24_060_776, (2, 2, 10, 4), **_svt(64)),
    "twins_svt_base": _variant(56_070_952, (2, 2, 18, 2), **_svt(96)),
    "twins_svt_large": _variant(99_271_400, (2, 2, 18, 2), **_svt(128)),
}
