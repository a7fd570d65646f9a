"""PiT: "Rethinking Spatial Dimensions of Vision Transformers" (Heo et al. 2021,
https://arxiv.org/abs/2103.16302).

    image (B, C, H, W)
      └ patch_embed, overlapping ─ map (B, H/8, W/8, D) + position
          └ stage 1: [class token, patches] ─ depth × Block(Attention, Mlp)
              └ stages 2 and 3: TokenPooling ─ (B, H/16, W/16, 2D) ─ blocks, and so on
                  └ norm ─ class token ─ (B, 4D) ─ head ─ (B, classes)

Differs from ViT: as in convolutional networks, the grid becomes coarser and the width grows with
depth, by a strided convolution that gives each channel two filters. A linear layer makes the class
token as wide, and every stage attends over its whole grid. The class token has no position.
"pit_*_distilled" have DeiT's distillation token with a head of its own.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import DepthwiseConv
from vitrail.layers.heads import TokenDistillationHeads
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import PositionTable
from vitrail.layers.pyramid import check_stages
from vitrail.layers.tokens import Token
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidBackbone, PyramidStage
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class TokenPooling(nn.Module):
    """PiT's pooling layer: half the positions on each axis, and wider; prefix tokens as wide.

    Args:
        dim_in: width of the input tokens.
        dim: width of the output tokens, a multiple of `dim_in`.

    Example:
        >>> features = Features.from_map(torch.zeros(1, 3, 4, 8), prefix=torch.zeros(1, 1, 8))
        >>> pooled = TokenPooling(8, 16)(features)
        >>> pooled.grid, pooled.prefix.shape
        ((2, 2), torch.Size([1, 1, 16]))
    """

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.conv = DepthwiseConv(dim_in, stride=2, dim_out=dim)
        self.fc = nn.Linear(dim_in, dim)

    def forward(self, features: Features) -> Features:
        """Features of width C → Features of width D on half the grid, rounded up."""
        return Features.from_map(self.conv(features.to_map()), self.fc(features.prefix))


class TokenStage(PyramidStage):
    """A stage whose blocks see the prefix tokens and the patches as one sequence.

    Args:
        downsample: module from Features to Features on a coarser grid.
        blocks: modules from (B, P + N, D) to the same shape.

    Example:
        >>> stage = TokenStage(nn.Identity(), [nn.Linear(8, 8)])
        >>> stage(Features.from_map(torch.zeros(1, 2, 3, 8))).grid
        (2, 3)
    """

    def forward(self, features: Features) -> Features:
        """Features on a grid → Features on this stage's."""
        features = self.downsample(features)
        prefix = features.prefix.shape[1]
        x = torch.cat([features.prefix, features.patches], dim=1)
        for block in self.blocks:
            x = block(x)
        return features._replace(prefix=x[:, :prefix], patches=x[:, prefix:])


class PiT(PyramidBackbone):
    """Pooling-based Vision Transformer (Heo et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other of at least one patch.
        patch_size: pixels of a patch (height, width), or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per stage, each a multiple of the one before.
        depth: number of blocks, per stage.
        heads: number of attention heads, per stage.
        stride: distance between patches, in pixels.
        mlp_ratio: hidden width of an MLP divided by the width of its stage.
        channels: number of channels of an image.
        pool: "cls" reads the class token; "both" has a distillation token too, and averages the
            logits of the two tokens' heads.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded patches.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.

    Example:
        >>> model = PiT(32, 8, num_classes=5, dim=(8, 16), depth=(1, 1), heads=(2, 2))
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Rethinking Spatial Dimensions of Vision Transformers",
        "Heo et al.",
        2021,
        "https://arxiv.org/abs/2103.16302",
        change="Pooling between the stages of a ViT: fewer tokens, more channels.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        stride: PositiveInt = 8,
        mlp_ratio: PositiveFloat = 4.0,
        channels: PositiveInt = 3,
        pool: Literal["cls", "both"] = "cls",
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads)
        patch, step = to_tuple(patch_size), to_tuple(stride)
        self.dim, self.pool_kind = dim, pool
        self.grid = patch_grid(self.image_size, patch, step)
        self.strides = tuple(stride * 2**i for i in range(len(depth)))

        self.patch_embed = PatchEmbed(patch, channels, dim[0], step, init="torch")
        self.class_token = Token(1, dim[0])
        self.distillation_token = Token(1, dim[0]) if pool == "both" else None
        self.position = PositionTable(self.grid, dim[0])
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))

        def make_block(width: int, head_count: int) -> Block:
            attention = Attention(width, head_count, dropout=dropout)
            mlp = Mlp(width, int(mlp_ratio * width), dropout)
            return Block(width, attention, mlp, drop_path=next(rates), norm_eps=norm_eps)

        self.blocks = nn.ModuleList(
            TokenStage(
                TokenPooling(dim[i - 1], width) if i else nn.Identity(),
                [make_block(width, heads[i]) for _ in range(depth[i])],
            )
            for i, width in enumerate(dim)
        )
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, P, D)."""
        patches, grid = self.patch_embed(images)
        patches = self.emb_dropout(patches + self.position(grid))
        prefix = self.class_token(patches.shape[0])
        if self.distillation_token is not None:
            prefix = torch.cat([prefix, self.distillation_token(patches.shape[0])], dim=1)
        return Features(patches, prefix, grid)

    def encode(self, features: Features) -> Features:
        """Features on the finest grid → normalized Features on the coarsest."""
        features = super().encode(features)
        return features._replace(prefix=self.norm(features.prefix))

    def pool(self, features: Features) -> Tensor:
        """Features → the class token (B, D), or both tokens concatenated (B, 2 D)."""
        return features.prefix.flatten(1)

    @property
    def pooled_dim(self) -> int:
        """D of the last stage, or 2 D for "both"."""
        return self.dim[-1] * (2 if self.pool_kind == "both" else 1)

    def make_head(self, num_classes: int) -> nn.Module:
        """num_classes → a linear head, or two for "both"; `nn.Identity` for 0."""
        if num_classes and self.pool_kind == "both":
            cls, dist = (nn.Linear(self.dim[-1], num_classes) for _ in range(2))
            return TokenDistillationHeads(cls, dist)
        return super().make_head(num_classes)

    def init_weights(self) -> None:
        """Initializes every parameter as the authors' code does.

        Tokens and positions start from std 0.02; linear layers and convolutions as PyTorch's own.
        """
        super().init_weights()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()


def _variant(parameters: int, dim: int, heads: int, depth: int = 2, **more: Any) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 16, "stride": 8, "num_classes": 1000,
        "dim": (dim, 2 * dim, 4 * dim), "depth": (depth, 6, 4),
        "heads": (heads, 2 * heads, 4 * heads),
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
