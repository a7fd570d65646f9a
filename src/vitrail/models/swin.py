"""Swin Transformer: "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows"
(Liu et al. 2021, https://arxiv.org/abs/2103.14030).

    image (B, C, H, W)
      └ patch_embed + norm ─ map (B, H/4, W/4, D)
          └ stage 1: depth × Block(WindowAttention, Mlp), every second one with shifted windows
              └ stages 2 to 4: merge 2 × 2 places ─ (B, H/8, W/8, 2D) ─ blocks, and so on
                  └ norm ─ mean over places ─ (B, 8D) ─ head ─ (B, classes)

Differs from ViT: tokens attend within windows of 7 × 7 only, so cost grows linearly with the image;
shifting the windows by half of one in every second block lets neighbours meet. No positions but a
bias for every offset within a window. A map that windows do not divide is padded with zeros, first
padded and then shifted, as the authors do (timm shifts first, which differs at such sizes only).
"""

from typing import Any

from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.relative_position import RelativeBias
from vitrail.layers.window import Window, pad_to, partition, shift_mask, unpartition
from vitrail.models.base import Features, PyramidBackbone, PyramidStage, Variant
from vitrail.models.paper import Paper


class WindowAttention(nn.Module):
    """Self-attention within each window of a map, with a bias for offsets."""

    def __init__(self, dim: int, heads: int, window: Window, shift: Window, dropout: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.attention = Attention(dim, heads, dropout=dropout)
        self.bias = RelativeBias(window, heads)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        height, width = x.shape[1:3]
        x = pad_to(x, self.window)
        size = (x.shape[1], x.shape[2])
        shift = tuple(
            s if side > w else 0  # one window has no neighbours to meet
            for s, side, w in zip(self.shift, (height, width), self.window, strict=True)
        )
        bias = self.bias()
        if any(shift):
            x = x.roll([-s for s in shift], dims=(1, 2))
            bias = bias + shift_mask(size, self.window, shift).to(bias)[:, None]
            bias = bias.expand(x.shape[0], -1, -1, -1, -1).flatten(0, 1)  # for every image
        windows = self.attention(partition(x, self.window), bias=bias)
        x = unpartition(windows, self.window, size)
        if any(shift):
            x = x.roll(shift, dims=(1, 2))
        return x[:, :height, :width]


class PatchMerging(nn.Module):
    """Joins 2 × 2 places into one, with twice the channels; odd sides are padded with zeros."""

    def __init__(self, dim_in: int, dim: int, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim_in, eps=norm_eps)
        self.reduction = nn.Linear(4 * dim_in, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / 2, W / 2, D)."""
        x = pad_to(x, (2, 2)).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        return self.reduction(self.norm(x.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class Swin(PyramidBackbone):
    """A Swin Transformer, version 1.

    Args:
        dim, depth, heads: width, blocks and attention heads, one number for each stage.
        window: places (rows, columns) of a window, or one number for both; a stage whose grid, at
            image_size, is smaller has windows as large as that grid.
        mlp_ratio: hidden width of the MLPs over that of their stage.
        dropout: on attention weights, projections and MLPs. The rest as in `ViT`. Images of any
            size that patches divide.
    """

    paper = Paper(
        "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
        "Liu et al.",
        2021,
        "https://arxiv.org/abs/2103.14030",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int | tuple[int, int],
        num_classes: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        window: int | tuple[int, int] = 7,
        mlp_ratio: float = 4.0,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        patch = to_tuple(patch_size)
        self.dim, self.grid = tuple(dim), patch_grid(self.image_size, patch)
        self.strides = tuple(patch[0] * 2**i for i in range(len(depth)))

        self.patch_embed = PatchEmbed(patch, channels, dim[0])
        self.embed_norm = nn.LayerNorm(dim[0], eps=norm_eps)
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages, grid = [], self.grid
        for i, (width, blocks, head_count) in enumerate(zip(dim, depth, heads, strict=True)):
            first = PatchMerging(dim[i - 1], width, norm_eps) if i else nn.Identity()
            grid = tuple(-(-side // 2) for side in grid) if i else grid
            fitted = tuple(min(pair) for pair in zip(to_tuple(window), grid, strict=True))
            half = tuple(side // 2 for side in fitted)
            stages.append(
                PyramidStage(
                    first,
                    [
                        Block(
                            width,
                            WindowAttention(
                                width, head_count, fitted, half if j % 2 else (0, 0), dropout
                            ),
                            Mlp(width, int(mlp_ratio * width), dropout),
                            drop_path=next(rates),
                            norm_eps=norm_eps,
                        )
                        for j in range(blocks)
                    ],
                )
            )
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix."""
        patches, grid = self.patch_embed(images)
        patches = self.emb_dropout(self.embed_norm(patches))
        return Features(patches, patches[:, :0], grid)


def _variant(
    parameters: int, dim: int, depth: int, heads: int, window: int = 7, size: int = 224
) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": size, "patch_size": 4, "num_classes": 1000, "window": window,
        "dim": tuple(dim * 2**i for i in range(4)), "depth": (2, 2, depth, 2),
        "heads": tuple(heads * 2**i for i in range(4)),
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "swin_tiny_patch4_window7_224": _variant(28_288_354, 96, 6, 3),
    "swin_small_patch4_window7_224": _variant(49_606_258, 96, 18, 3),
    "swin_base_patch4_window7_224": _variant(87_768_224, 128, 18, 4),
    "swin_base_patch4_window12_384": _variant(87_903_584, 128, 18, 4, 12, 384),
    "swin_large_patch4_window7_224": _variant(196_532_476, 192, 18, 6),
    "swin_large_patch4_window12_384": _variant(196_735_516, 192, 18, 6, 12, 384),
}
