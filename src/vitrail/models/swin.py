"""Swin Transformer: "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows"
(Liu et al. 2021, https://arxiv.org/abs/2103.14030).

    image (B, C, H, W)
      └ patch_embed + norm ─ map (B, H/4, W/4, D)
          └ stage 1: depth × Block(ShiftedWindowAttention, Mlp), every second one shifted
              └ stages 2 to 4: merge 2 × 2 positions ─ (B, H/8, W/8, 2D) ─ blocks, and so on
                  └ norm ─ mean over positions ─ (B, 8D) ─ head ─ (B, classes)

Differs from ViT: tokens attend only within windows of 7 × 7, so that the cost grows linearly with
the image; every second block shifts the windows by half of one, which connects adjacent windows.
Instead of positions there is a learned bias per offset within a window. A map that windows do not
divide is padded with zeros, first padded and then shifted, as the authors do (timm shifts first,
which differs at such sizes only).
"""

from typing import Any

from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.pyramid import check_stages
from vitrail.layers.relative_position import RelativeBias
from vitrail.layers.window import (
    Window,
    numbered_cells,
    pad_to,
    partition,
    shift_mask,
    unpartition,
)
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidBackbone, PyramidStage
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class ShiftedWindowAttention(nn.Module):
    """Self-attention within each window of a map that is shifted first, with a relative bias.

    Args:
        dim: width of a token.
        heads: number of heads, a divisor of `dim`.
        window: (rows, columns) of a window.
        shift: (rows, columns) by which the map is shifted; (0, 0) for not at all. An axis with one
            window is not shifted.
        dropout: dropout rate of the attention weights and of the output.

    Raises:
        ConfigError: `heads` does not divide `dim`.

    Example:
        >>> ShiftedWindowAttention(8, 2, (2, 2), (1, 1), 0.0)(torch.zeros(1, 4, 5, 8)).shape
        torch.Size([1, 4, 5, 8])
    """

    def __init__(self, dim: int, heads: int, window: Window, shift: Window, dropout: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.attention = Attention(dim, heads, dropout=dropout)
        self.bias = RelativeBias(window, heads)

    def shift_at(self, size: tuple[int, int]) -> tuple[int, int]:
        """size (H, W) of a map → (rows, columns) by which it is shifted."""
        (rows, columns), (height, width) = self.shift, size
        return rows * (height > self.window[0]), columns * (width > self.window[1])

    def cell_index(self, size: tuple[int, int]) -> Tensor:
        """size (H, W) of a map → (windows, h · w), the cell of each token, -1 for padding."""
        cells = numbered_cells(size, self.window)
        rows, columns = self.shift_at(size)
        return partition(cells.roll((-rows, -columns), dims=(1, 2)), self.window)[..., 0] - 1

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        height, width = x.shape[1:3]
        shift = self.shift_at((height, width))
        x = pad_to(x, self.window)
        size = (x.shape[1], x.shape[2])
        bias = self.bias()
        if any(shift):
            x = x.roll([-s for s in shift], dims=(1, 2))
            bias = bias + shift_mask(size, self.window, shift).to(bias)[:, None]
            bias = bias.expand(x.shape[0], -1, -1, -1, -1).flatten(0, 1)  # (B · windows, H, n, n)
        windows = self.attention(partition(x, self.window), bias=bias)
        x = unpartition(windows, self.window, size)
        if any(shift):
            x = x.roll(shift, dims=(1, 2))
        return x[:, :height, :width]


class PatchMerging(nn.Module):
    """Merges 2 × 2 positions into one; odd sides are padded with zeros.

    Args:
        dim_in: number of input channels.
        dim: number of output channels.
        norm_eps: epsilon of the LayerNorm.

    Example:
        >>> PatchMerging(4, 8, 1e-5)(torch.zeros(1, 5, 6, 4)).shape
        torch.Size([1, 3, 3, 8])
    """

    def __init__(self, dim_in: int, dim: int, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim_in, eps=norm_eps)
        self.reduction = nn.Linear(4 * dim_in, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / 2, W / 2, D)."""
        x = pad_to(x, (2, 2)).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        return self.reduction(self.norm(x.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class Swin(PyramidBackbone):
    """Swin Transformer, version 1 (Liu et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Any size works that patches
            divide.
        patch_size: pixels of a patch (height, width), or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per stage.
        depth: number of blocks, per stage.
        heads: number of attention heads, per stage.
        window: sides (rows, columns) of a window, or one number for both; a stage whose grid, at
            `image_size`, is smaller has windows as large as that grid.
        mlp_ratio: hidden width of an MLP divided by the width of its stage.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.
        reference_size: image size whose grids windows are fitted to; None for `image_size`.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = Swin(16, 4, num_classes=5, dim=(8, 16), depth=(2, 1), heads=(2, 2), window=2)
        >>> model(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
        "Liu et al.",
        2021,
        "https://arxiv.org/abs/2103.14030",
        change="Attention in windows, shifted in every second block of a pyramid.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        window: Size = 7,
        mlp_ratio: PositiveFloat = 4.0,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-5,
        reference_size: Size | None = None,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads)
        patch = to_tuple(patch_size)
        self.dim, self.grid = dim, patch_grid(self.image_size, patch)
        reference_grid = patch_grid(to_tuple(reference_size or self.image_size), patch)
        self.strides = tuple(patch[0] * 2**i for i in range(len(depth)))

        self.patch_embed = PatchEmbed(patch, channels, dim[0], init="torch")
        self.embed_norm = nn.LayerNorm(dim[0], eps=norm_eps)
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))

        def make_block(width: int, head_count: int, sides: Window, shift: Window) -> Block:
            mixer = ShiftedWindowAttention(width, head_count, sides, shift, dropout)
            mlp = Mlp(width, int(mlp_ratio * width), dropout)
            return Block(width, mixer, mlp, drop_path=next(rates), norm_eps=norm_eps)

        stages = []
        for i, width in enumerate(dim):
            grid = tuple(-(-side // 2**i) for side in reference_grid)
            sides = tuple(min(pair) for pair in zip(to_tuple(window), grid, strict=True))
            half = tuple(side // 2 for side in sides)
            blocks = [
                make_block(width, heads[i], sides, half if j % 2 else (0, 0))
                for j in range(depth[i])
            ]
            downsample = PatchMerging(dim[i - 1], width, norm_eps) if i else nn.Identity()
            stages.append(PyramidStage(downsample, blocks))
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
