"""Twins: "Twins: Revisiting the Design of Spatial Attention in Vision Transformers"
(Chu et al. 2021, https://arxiv.org/abs/2104.13840).

    image (B, C, H, W)
      └ patch_embed + norm ─ map (B, H/4, W/4, D₁)
          └ stage 1: Block, ConditionalPosition, further Blocks
              └ stages 2 to 4: patches of 2 × 2 places ─ (B, H/8, W/8, D₂) ─ blocks, and so on
                  └ norm ─ mean over places ─ (B, D₄) ─ head ─ (B, classes)

Two models. Twins-PCPVT is PVT whose learned positions are replaced by a convolution after the first
block of each stage, so any size that patches divide will do, and whose class token is replaced by
the mean. Twins-SVT (with `window`) attends within windows in every first block of two, and to the
reduced map in every second: separable, as depthwise and pointwise convolutions are.

A map that windows do not divide is padded with zeros, as the authors do (vit-pytorch refuses it).
"""

from typing import Any

from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import ConditionalPosition, StridedConvNorm
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.spatial_reduction import ReducedAttention, spatial_reduction
from vitrail.layers.window import WindowAttention
from vitrail.models.base import Features, PyramidBackbone, PyramidStage, Variant
from vitrail.models.paper import Paper


class Twins(PyramidBackbone):
    """A Twins transformer: PCPVT, or SVT if it has windows.

    Args:
        patch_size: of the first stage; later ones take 2 × 2 places of the stage before.
        dim, depth, heads, reduction, mlp_ratio: width, blocks, attention heads, how much coarser
            the map is that keys and values are read off, and hidden width of the MLPs over that of
            their stage; one number for each stage.
        window: places of a window (rows, columns), or one number for both; None for no windows.
        dropout: on attention weights, projections and MLPs. emb_dropout: on the patches of every
            stage. The rest as in `ViT`. Images of any size that patches divide.
    """

    paper = Paper(
        "Twins: Revisiting the Design of Spatial Attention in Vision Transformers",
        "Chu et al.",
        2021,
        "https://arxiv.org/abs/2104.13840",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int | tuple[int, int],
        num_classes: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        window: int | tuple[int, int] | None = None,
        reduction: tuple[int, ...] = (8, 4, 2, 1),
        mlp_ratio: tuple[float, ...] = (4, 4, 4, 4),
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        patch = to_tuple(patch_size)
        self.dim, self.grid = tuple(dim), patch_grid(self.image_size, patch)
        self.strides = tuple(patch[0] * 2**i for i in range(len(depth)))

        def mixer(stage: int, block: int) -> nn.Module:
            width, head_count = dim[stage], heads[stage]
            if window is not None and block % 2 == 0:
                attention = Attention(width, head_count, dropout=dropout)
                return WindowAttention(attention, to_tuple(window))
            reduce = spatial_reduction(width, reduction[stage])
            return ReducedAttention(width, head_count, reduce, dropout)

        self.patch_embed = PatchEmbed(patch, channels, dim[0])
        self.embed_norm = nn.LayerNorm(dim[0])
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages = []
        for i, width in enumerate(dim):
            blocks: list[nn.Module] = [
                Block(
                    width,
                    mixer(i, j),
                    Mlp(width, int(mlp_ratio[i] * width), dropout),
                    drop_path=next(rates),
                    norm_eps=norm_eps,
                )
                for j in range(depth[i])
            ]
            blocks.insert(1, ConditionalPosition(width))
            coarser = (
                [StridedConvNorm(dim[i - 1], width, 2, 2), nn.Dropout(emb_dropout)] if i else []
            )
            stages.append(PyramidStage(nn.Sequential(*coarser), blocks))
        self.blocks = nn.ModuleList(stages)
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
