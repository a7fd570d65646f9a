"""PiT: "Rethinking Spatial Dimensions of Vision Transformers" (Heo et al. 2021,
https://arxiv.org/abs/2103.16302).

    image (B, C, H, W)
      └ patch_embed, overlapping ─ map (B, H/8, W/8, D) + position
          └ stage 1: [class token, places] ─ depth × Block(Attention, Mlp)
              └ stages 2 and 3: Pooling ─ (B, H/16, W/16, 2D) ─ blocks, and so on
                  └ norm ─ class token ─ (B, 4D) ─ head ─ (B, classes)

Differs from ViT: as in convolutional networks, the grid becomes coarser and the width grows on the
way, by a strided convolution that gives each channel two filters. A linear layer makes the class
token as wide, and every stage attends over its whole grid. "pit_*_distilled" have DeiT's second
token with a head of its own.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.errors import check_choice
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import DepthwiseConv
from vitrail.layers.heads import TokenDistillationHeads
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import resize_positions
from vitrail.models.base import Features, PyramidBackbone, PyramidStage, Variant
from vitrail.models.paper import Paper


class Pooling(nn.Module):
    """Half the places on each axis, and wider; the prefix tokens become as wide."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.conv = DepthwiseConv(dim_in, stride=2, dim_out=dim)
        self.fc = nn.Linear(dim_in, dim)

    def forward(self, features: Features) -> Features:
        """Features of width C → Features of width D on half the grid, rounded up."""
        return Features.from_map(self.conv(features.to_map()), self.fc(features.prefix))


class TokenStage(PyramidStage):
    """A stage whose blocks see the prefix tokens and the places of the map as one sequence."""

    def forward(self, features: Features) -> Features:
        """Features on a grid → Features on this stage's."""
        features = self.downsample(features)
        prefix = features.prefix.shape[1]
        x = torch.cat([features.prefix, features.patches], dim=1)
        for block in self.blocks:
            x = block(x)
        return features._replace(prefix=x[:, :prefix], patches=x[:, prefix:])


class PiT(PyramidBackbone):
    """A Pooling-based Vision Transformer. Keywords as those of `Swin`, and:

    Args:
        stride: between patches, in pixels.
        pool: "cls" reads the class token; "both" has a distillation token too, and averages the
            logits of their two heads.
    """

    paper = Paper(
        "Rethinking Spatial Dimensions of Vision Transformers",
        "Heo et al.",
        2021,
        "https://arxiv.org/abs/2103.16302",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int | tuple[int, int],
        num_classes: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        stride: int = 8,
        mlp_ratio: float = 4.0,
        channels: int = 3,
        pool: str = "cls",
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_choice("pool", pool, ("cls", "both"))
        patch, step = to_tuple(patch_size), to_tuple(stride)
        self.dim, self.pool_kind = tuple(dim), pool
        self.grid = patch_grid(self.image_size, patch, step)
        self.strides = tuple(stride * 2**i for i in range(len(depth)))

        self.patch_embed = PatchEmbed(patch, channels, dim[0], step)
        self.position = nn.Parameter(torch.empty(1, math.prod(self.grid), dim[0]))
        tokens = 2 if pool == "both" else 1  # the second is the distillation token
        self.class_token = nn.Parameter(torch.empty(1, tokens, dim[0]))
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))

        def block(width: int, heads: int) -> Block:
            attention = Attention(width, heads, dropout=dropout)
            mlp = Mlp(width, int(mlp_ratio * width), dropout)
            return Block(width, attention, mlp, drop_path=next(rates), norm_eps=norm_eps)

        self.blocks = nn.ModuleList(
            TokenStage(
                Pooling(dim[i - 1], width) if i else nn.Identity(),
                [block(width, heads[i]) for _ in range(depth[i])],
            )
            for i, width in enumerate(dim)
        )
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, P, D)."""
        patches, grid = self.patch_embed(images)
        patches = self.emb_dropout(patches + self.positions_at(grid))
        return Features(patches, self.class_token.expand(patches.shape[0], -1, -1), grid)

    def encode(self, features: Features) -> Features:
        """Features on the finest grid → normalised Features on the coarsest."""
        features = super().encode(features)
        return features._replace(prefix=self.norm(features.prefix))

    def positions_at(self, grid: tuple[int, ...]) -> Tensor:
        """(1, N, D) for a grid of N patches."""
        return resize_positions(self.position, self.grid, grid)

    def pool(self, features: Features) -> Tensor:
        """Features → the class token (B, D), or both tokens side by side (B, 2 D)."""
        return features.prefix.flatten(1)

    @property
    def pooled_dim(self) -> int:
        """D of the last stage, or 2 D for "both"."""
        return self.dim[-1] * self.class_token.shape[1]

    def make_head(self, num_classes: int) -> nn.Module:
        """A linear head, or two for "both"; no classes, no head."""
        if num_classes and self.pool_kind == "both":
            cls, dist = (nn.Linear(self.dim[-1], num_classes) for _ in range(2))
            return TokenDistillationHeads(cls, dist)
        return super().make_head(num_classes)


def _variant(parameters: int, dim: int, first: int, depth: int = 2, **more: Any) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 16, "stride": 8, "num_classes": 1000,
        "dim": (dim, 2 * dim, 4 * dim), "depth": (depth, 6, 4),
        "heads": (first, 2 * first, 4 * first),
    }  # fmt: skip
    return Variant({**keywords, **more}, parameters)


BASE = {"patch_size": 14, "stride": 7}
VARIANTS = {
    "pit_ti_224": _variant(4_847_272, 64, 2),
    "pit_xs_224": _variant(10_618_888, 96, 2),
    "pit_s_224": _variant(23_461_912, 144, 3),
    "pit_b_224": _variant(73_764_840, 256, 4, 3, **BASE),
    "pit_ti_distilled_224": _variant(5_104_336, 64, 2, pool="both"),
    "pit_xs_distilled_224": _variant(11_003_984, 96, 2, pool="both"),
    "pit_s_distilled_224": _variant(24_039_056, 144, 3, pool="both"),
    "pit_b_distilled_224": _variant(74_790_096, 256, 4, 3, pool="both", **BASE),
}
