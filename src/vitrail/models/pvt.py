"""PVT: "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without Convolutions"
(Wang et al. 2021, https://arxiv.org/abs/2102.12122).

    image (B, C, H, W)
      └ patch_embed + norm ─ map (B, H/4, W/4, D₁) + position
          └ stage 1: depth × Block(ReducedAttention, Mlp)
              └ stages 2 to 4: patches of 2 × 2 positions ─ (B, H/8, W/8, D₂) + position ─ blocks
                  └ stage 4: [class token, patches] + position ─ blocks
                      └ norm ─ class token (B, D₄) ─ head ─ (B, classes)

Differs from ViT: four stages on ever coarser grids, each with positions of its own. Keys and values
come from a map that is coarser still, by `reduction` on each axis, which makes the fine grids of
the first stages affordable. The class token joins in the last stage, which is not reduced.

Positions are resampled bilinearly for other sizes, as the paper says (transformers' code means to,
but fails at any size but its own). As in the authors' code they are decayed. What patches leave
over at the far edges of a stage is dropped.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import StridedConvNorm
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import Grid, PositionTable, resize_positions
from vitrail.layers.pyramid import check_stages
from vitrail.layers.spatial_reduction import ReducedAttention, spatial_reduction
from vitrail.layers.tokens import Token
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidBackbone, PyramidStage
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class BilinearPositionTable(PositionTable):
    """Learned positions that are resampled bilinearly; arguments as those of `PositionTable`.

    Example:
        >>> BilinearPositionTable((4, 4), 8, prefix=1)((2, 6)).shape
        torch.Size([1, 13, 8])
    """

    def forward(self, grid: Grid) -> Tensor:
        """grid of N patches → positions (1, prefix + N, D), rows of prefix tokens first."""
        if grid == self.grid:
            return self.weight
        prefix, patches = self.weight[:, : self.prefix], self.weight[:, self.prefix :]
        return torch.cat([prefix, resize_positions(patches, self.grid, grid, mode="bilinear")], 1)


class PVTStage(PyramidStage):
    """A coarser grid, positions, and blocks; in the last stage with a class token.

    Args:
        downsample: module from (B, H, W, C) to (B, H', W', D).
        blocks: modules from maps (B, H', W', D), or with a class token from (B, 1 + N, D), to the
            same shape.
        position: learned positions of this grid, with one for the class token if there is one.
        class_token: the token that joins the patches; None for none.

    Example:
        >>> table = BilinearPositionTable((2, 3), 8, prefix=1)
        >>> stage = PVTStage(nn.Identity(), [nn.Linear(8, 8)], table, Token(1, 8))
        >>> stage(Features.from_map(torch.zeros(1, 2, 3, 8))).prefix.shape
        torch.Size([1, 1, 8])
    """

    def __init__(
        self,
        downsample: nn.Module,
        blocks: list[nn.Module],
        position: PositionTable,
        class_token: Token | None = None,
    ) -> None:
        super().__init__(downsample, blocks)
        self.position, self.class_token = position, class_token

    def forward(self, features: Features) -> Features:
        """Features on a grid → Features on this stage's."""
        x = self.downsample(features.to_map())
        grid = tuple(x.shape[1:3])
        positions = self.position(grid)
        if self.class_token is None:
            x = x + positions.unflatten(1, grid)
        else:
            x = torch.cat([self.class_token(x.shape[0]), x.flatten(1, 2)], dim=1) + positions
        for block in self.blocks:
            x = block(x)
        if self.class_token is None:
            return Features.from_map(x)
        return Features(x[:, 1:], x[:, :1], grid)


class PVT(PyramidBackbone):
    """Pyramid Vision Transformer, version 1 (Wang et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other that patches divide.
        patch_size: pixels of a patch (height, width) of the first stage, or one number for both;
            later stages take patches of 2 × 2 positions of the stage before.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per stage, two stages or more.
        depth: number of blocks, per stage.
        heads: number of attention heads, per stage.
        reduction: per stage, how much coarser the map of keys and values is on each axis; 1 in the
            last stage.
        mlp_ratio: per stage, hidden width of an MLP divided by the width of the stage.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of the LayerNorms of blocks and of the last one.
        reduce_eps: epsilon of the LayerNorms after patches and reductions. transformers' weights
            need 1e-6.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = PVT(16, 4, num_classes=5, dim=(8, 16), depth=(1, 1), heads=(1, 2),
        ...     reduction=(2, 1), mlp_ratio=(2, 2))
        >>> model(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without "
        "Convolutions",
        "Wang et al.",
        2021,
        "https://arxiv.org/abs/2102.12122",
        change="A pyramid of stages; keys and values come from a coarser grid.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        reduction: tuple[PositiveInt, ...] = (8, 4, 2, 1),
        mlp_ratio: tuple[PositiveFloat, ...] = (8, 8, 4, 4),
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
        reduce_eps: PositiveFloat = 1e-5,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads, reduction=reduction, mlp_ratio=mlp_ratio)
        if len(dim) == 1:
            raise ConfigError(f"dim={dim} has one stage, and PVT needs at least two.")
        if reduction[-1] != 1:
            raise ConfigError(
                f"reduction={reduction}: the last stage, where the class token is, takes 1."
            )
        patch = to_tuple(patch_size)
        self.dim, self.grid = dim, patch_grid(self.image_size, patch)
        self.strides = tuple(patch[0] * 2**i for i in range(len(depth)))

        self.patch_embed = PatchEmbed(patch, channels, dim[0], init="torch")
        self.embed_norm = nn.LayerNorm(dim[0], eps=reduce_eps)
        self.position = BilinearPositionTable(self.grid, dim[0], decayed=True)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages: list[PyramidStage] = []
        for i, width in enumerate(dim):
            blocks: list[nn.Module] = []
            for _ in range(depth[i]):
                reduce = spatial_reduction(width, reduction[i], reduce_eps)
                mixer = ReducedAttention(width, heads[i], reduce, dropout)
                mlp = Mlp(width, int(mlp_ratio[i] * width), dropout)
                blocks.append(Block(width, mixer, mlp, drop_path=next(rates), norm_eps=norm_eps))
            if i == 0:
                stages.append(PyramidStage(nn.Identity(), blocks))
                continue
            last = i == len(dim) - 1
            downsample = StridedConvNorm(dim[i - 1], width, 2, 2, norm_eps=reduce_eps)
            grid = tuple(side // 2**i for side in self.grid)
            position = BilinearPositionTable(grid, width, prefix=int(last), decayed=True)
            class_token = Token(1, width) if last else None
            stages.append(PVTStage(downsample, blocks, position, class_token))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, no prefix."""
        patches, grid = self.patch_embed(images)
        patches = self.embed_norm(patches) + self.position(grid)
        return Features(patches, patches[:, :0], grid)

    def encode(self, features: Features) -> Features:
        """Features on the finest grid → normalized Features on the coarsest, with a class token."""
        features = super().encode(features)
        return features._replace(prefix=self.norm(features.prefix))

    def pool(self, features: Features) -> Tensor:
        """Features → the class token (B, D)."""
        return features.prefix[:, 0]


def _variant(parameters: int, depth: tuple[int, ...]) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 4, "num_classes": 1000,
        "dim": (64, 128, 320, 512), "depth": depth, "heads": (1, 2, 5, 8),
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "pvt_tiny": _variant(13_229_288, (2, 2, 2, 2)),
    "pvt_small": _variant(24_485_864, (3, 4, 6, 3)),
    "pvt_medium": _variant(44_208_104, (3, 4, 18, 3)),
    "pvt_large": _variant(61_369_320, (3, 8, 27, 3)),
}
