"""NesT: "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and Interpretable Visual
Understanding" (Zhang et al. 2021, https://arxiv.org/abs/2105.12723).

    image (B, C, H, W)
      └ patch_embed ─ map (B, H/4, W/4, D)
          └ level 1: + position, cut into 4 × 4 blocks, within each: depth × Block(Attention, Mlp)
              └ levels 2 and 3: Aggregate ─ (B, H/8, W/8, 2D) ─ 2 × 2 blocks, then the whole map
                  └ norm ─ mean over places ─ (B, 4D) ─ head ─ (B, classes)

Differs from ViT: a tree of ViTs, the same at every level, each on one block of the map; four blocks
become one of the next level by a convolution and max pooling of the whole map, the only way from
block to block. Positions are learned at every level.

The number of blocks is fixed, so on other sizes blocks grow with the image, and positions are
resampled. timm's "nest_*" without "_jx" pool with padding on both sides and have no public weights;
the authors' code, and the weights that timm took from it, pad on the far side only.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import check_choice
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import resize_positions
from vitrail.layers.window import partition, unpartition
from vitrail.models.base import Backbone, Features, PyramidBackbone, PyramidStage, Variant
from vitrail.models.paper import Paper


class Aggregate(nn.Module):
    """Block aggregation: convolution, norm and max pooling, to half the places on each axis."""

    def __init__(self, dim_in: int, dim: int, padding: str, norm_eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim, 3, padding=1)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.both_sides = padding == "both"

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / 2, W / 2, D), of even sides."""
        x = self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        near = int(self.both_sides)
        return F.max_pool2d(x, 3, 2, near, ceil_mode=not near).permute(0, 2, 3, 1)


class Level(PyramidStage):
    """A level of the tree: transformers on `count` × `count` blocks of the map."""

    def __init__(
        self, first: nn.Module, blocks: list[Block], grid: tuple[int, ...], count: int, dim: int
    ) -> None:
        super().__init__(first, blocks)
        self.grid, self.count = grid, count
        self.position = nn.Parameter(torch.empty(1, math.prod(grid), dim))

    def positions_at(self, grid: tuple[int, ...]) -> Tensor:
        """(1, N, D) for a grid of N places, row by row."""
        return resize_positions(self.position, self.grid, grid)

    def forward(self, features: Features) -> Features:
        """Features on a grid → Features on this level's."""
        x = self.downsample(features.to_map())
        size = tuple(x.shape[1:3])
        block_size = (size[0] // self.count, size[1] // self.count)
        x = partition(x + self.positions_at(size).unflatten(1, size), block_size)
        for block in self.blocks:
            x = block(x)
        return Features.from_map(unpartition(x, block_size, size))


class NesT(PyramidBackbone):
    """A nested transformer. Keywords as those of `Swin`, and:

    Args:
        dim, depth, heads: one number for each level. Of L levels the first has 2 ** (L - 1) blocks
            of the map on each axis, which have to divide the image.
        padding: of the max pooling: "far", below and on the right, as the authors; or "both" sides.
    """

    paper = Paper(
        "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and Interpretable "
        "Visual Understanding",
        "Zhang et al.",
        2021,
        "https://arxiv.org/abs/2105.12723",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int | tuple[int, int],
        num_classes: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        mlp_ratio: float = 4.0,
        padding: str = "far",
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_choice("padding", padding, ("far", "both"))
        patch, levels = to_tuple(patch_size), len(depth)
        self.unit = tuple(side * 2 ** (levels - 1) for side in patch)  # pixels
        patch_grid(self.image_size, self.unit)
        self.dim, self.grid = tuple(dim), patch_grid(self.image_size, patch)
        self.strides = tuple(patch[0] * 2**i for i in range(levels))

        self.patch_embed = PatchEmbed(patch, channels, dim[0])
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))

        def block(width: int, heads: int) -> Block:
            attention = Attention(width, heads, dropout=dropout)
            mlp = Mlp(width, int(mlp_ratio * width), dropout)
            return Block(width, attention, mlp, drop_path=next(rates), norm_eps=norm_eps)

        stages = []
        for i, width in enumerate(dim):
            first = Aggregate(dim[i - 1], width, padding, norm_eps) if i else nn.Identity()
            blocks = [block(width, heads[i]) for _ in range(depth[i])]
            grid = tuple(side // 2**i for side in self.grid)
            stages.append(Level(first, blocks, grid, 2 ** (levels - 1 - i), width))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix."""
        patches, grid = self.patch_embed(images)
        patch_grid(tuple(images.shape[2:]), self.unit)
        patches = self.emb_dropout(patches)
        return Features(patches, patches[:, :0], grid)

    def weights_for(self, other: Backbone) -> dict[str, Tensor]:
        """The weights for `other`, this model at another image_size: every level's positions."""
        weights = self.state_dict()
        for i, (level, twin) in enumerate(zip(self.blocks, other.blocks, strict=True)):
            if isinstance(level, Level) and isinstance(twin, Level):
                weights[f"blocks.{i}.position"] = level.positions_at(twin.grid)
        return weights


def _variants(name: str, parameters: int, dim: int, depth: int, heads: int) -> dict[str, Variant]:
    """A size, with the authors' padding and with timm's."""
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 4, "num_classes": 1000, "depth": (2, 2, depth),
        "dim": (dim, 2 * dim, 4 * dim), "heads": (heads, 2 * heads, 4 * heads),
    }  # fmt: skip
    return {
        f"nest_{name}_jx": Variant(keywords, parameters),
        f"nest_{name}": Variant({**keywords, "padding": "both"}, parameters),
    }


VARIANTS = {
    **_variants("tiny", 17_057_608, 96, 8, 3),
    **_variants("small", 38_351_176, 96, 20, 3),
    **_variants("base", 67_723_368, 128, 20, 4),
}
