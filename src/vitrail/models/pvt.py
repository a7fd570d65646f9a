"""PVT: "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without Convolutions"
(Wang et al. 2021, https://arxiv.org/abs/2102.12122).

    image (B, C, H, W)
      └ patch_embed + norm ─ map (B, H/4, W/4, D₁) + position
          └ stage 1: depth × Block(ReducedAttention, Mlp)
              └ stages 2 to 4: patches of 2 × 2 places ─ (B, H/8, W/8, D₂) + position ─ blocks, ...
                  └ stage 4: [class token, places] ─ blocks
                      └ norm ─ class token (B, D₄) ─ head ─ (B, classes)

Differs from ViT: four stages on ever coarser grids, each with positions of its own. Keys and values
are read off a map that is coarser still, by `reduction` each way, which makes the fine grids of the
first stages affordable. The class token joins in the last stage, which is not reduced.

Positions are resampled bilinearly for other sizes, as the paper says (transformers means to, but
fails at any size but its own). What patches leave over at the far edges of a stage is not seen. As
in `ViT` the class token has no position of its own: one D₄ of the published counts is absent.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import StridedConvNorm
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import resize_positions
from vitrail.layers.spatial_reduction import ReducedAttention, spatial_reduction
from vitrail.models.base import Backbone, Features, PyramidBackbone, PyramidStage, Variant
from vitrail.models.paper import Paper


class Positions(nn.Module):
    """Adds a position to every place of a map: learned on `grid`, resampled for others."""

    def __init__(self, grid: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.grid = grid
        self.position = nn.Parameter(torch.empty(1, math.prod(grid), dim))

    def at(self, grid: tuple[int, ...]) -> Tensor:
        """(1, N, D) for a grid of N places."""
        return resize_positions(self.position, self.grid, grid, mode="bilinear")

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        return x + self.at(tuple(x.shape[1:3])).view_as(x[:1])


class LastStage(PyramidStage):
    """A stage that a class token joins: its places and the token attend to each other."""

    def __init__(self, downsample: nn.Module, blocks: list[nn.Module], dim: int) -> None:
        super().__init__(downsample, blocks)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))

    def forward(self, features: Features) -> Features:
        """Features on a grid → Features on this stage's, with a prefix of one."""
        places = self.downsample(features.to_map())
        token = self.class_token.expand(places.shape[0], -1, -1)
        x = torch.cat([token, places.flatten(1, 2)], dim=1)
        for block in self.blocks:
            x = block(x)
        return Features(x[:, 1:], x[:, :1], tuple(places.shape[1:3]))


class PVT(PyramidBackbone):
    """A Pyramid Vision Transformer, version 1.

    Args:
        patch_size: of the first stage; later ones take 2 × 2 places of the stage before.
        dim, depth, heads, reduction, mlp_ratio: width, blocks, attention heads, how much coarser
            the map is that keys and values are read off, and hidden width of the MLPs over that of
            their stage; one number for each stage. The last stage has no reduction: 1.
        dropout: on attention weights, projections and MLPs. The rest as in `ViT`. Images of any
            size that patches divide.
        reduce_eps: of the norms after patches and reductions. transformers' weights need 1e-6.
    """

    paper = Paper(
        "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without "
        "Convolutions",
        "Wang et al.",
        2021,
        "https://arxiv.org/abs/2102.12122",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int | tuple[int, int],
        num_classes: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        reduction: tuple[int, ...] = (8, 4, 2, 1),
        mlp_ratio: tuple[float, ...] = (8, 8, 4, 4),
        channels: int = 3,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
        reduce_eps: float = 1e-5,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        if reduction[-1] != 1:
            raise ConfigError(
                f"reduction={reduction}: the last stage, where the class token is, takes 1."
            )
        patch = to_tuple(patch_size)
        self.dim, self.grid = tuple(dim), patch_grid(self.image_size, patch)
        self.strides = tuple(patch[0] * 2**i for i in range(len(depth)))

        self.patch_embed = PatchEmbed(patch, channels, dim[0])
        self.embed_norm = nn.LayerNorm(dim[0], eps=reduce_eps)
        self.positions = Positions(self.grid, dim[0])
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages = []
        for i, width in enumerate(dim):
            blocks: list[nn.Module] = []
            for _ in range(depth[i]):
                reduce = spatial_reduction(width, reduction[i], reduce_eps)
                mixer = ReducedAttention(width, heads[i], reduce, dropout)
                mlp = Mlp(width, int(mlp_ratio[i] * width), dropout)
                blocks.append(Block(width, mixer, mlp, drop_path=next(rates), norm_eps=norm_eps))
            first: nn.Module = nn.Identity()
            if i:
                coarsen = StridedConvNorm(dim[i - 1], width, 2, 2, norm_eps=reduce_eps)
                grid = tuple(side // 2**i for side in self.grid)
                first = nn.Sequential(coarsen, Positions(grid, width))
            last = i == len(dim) - 1
            stages.append(LastStage(first, blocks, width) if last else PyramidStage(first, blocks))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, no prefix."""
        patches, grid = self.patch_embed(images)
        return Features.from_map(self.positions(self.embed_norm(patches).unflatten(1, grid)))

    def encode(self, features: Features) -> Features:
        """Features on the finest grid → normalised Features on the coarsest, and a class token."""
        features = super().encode(features)
        return features._replace(prefix=self.norm(features.prefix))

    def pool(self, features: Features) -> Tensor:
        """Features → the class token (B, D)."""
        return features.prefix[:, 0]

    def positions_at(self, grid: tuple[int, ...]) -> Tensor:
        """The first stage's: (1, N, D) for a grid of N patches."""
        return self.positions.at(grid)

    def weights_for(self, other: Backbone) -> dict[str, Tensor]:
        """The weights for `other`, this model at another image_size: every stage's positions."""
        weights = self.state_dict()
        for (name, module), twin in zip(self.named_modules(), other.modules(), strict=True):
            if isinstance(module, Positions) and isinstance(twin, Positions):
                weights[f"{name}.position"] = module.at(twin.grid)
        return weights


def _variant(parameters: int, depth: tuple[int, ...]) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 4, "num_classes": 1000,
        "dim": (64, 128, 320, 512), "depth": depth, "heads": (1, 2, 5, 8),
    }  # fmt: skip
    return Variant(keywords, parameters, absent=512)


VARIANTS = {
    "pvt_tiny": _variant(13_229_288, (2, 2, 2, 2)),
    "pvt_small": _variant(24_485_864, (3, 4, 6, 3)),
    "pvt_medium": _variant(44_208_104, (3, 4, 18, 3)),
    "pvt_large": _variant(61_369_320, (3, 8, 27, 3)),
}
