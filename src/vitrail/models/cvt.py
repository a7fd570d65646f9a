"""CvT: "CvT: Introducing Convolutions to Vision Transformers" (Wu et al. 2021,
https://arxiv.org/abs/2103.15808).

    image (B, C, H, W)
      └ embedding, a convolution of 7 × 7 and a norm ─ map (B, H/4, W/4, D)
          └ stage 1: depth × Block(ConvAttention, Mlp)
              └ stages 2 and 3: a convolution of 3 × 3 and a norm ─ (B, H/8, W/8, D2) ─ blocks
                  │  and in the last stage a class token beside the map
                  └ norm ─ class token (B, D3) ─ head ─ (B, classes)

Differs from ViT: patches overlap. Queries, keys and values come from depthwise convolutions; those
of keys and values have stride 2, which leaves a quarter of them. There are no positions, because
convolutions with zero padding carry them. The class token bypasses the convolutions. Logits are
scaled by 1 / √D of the whole width, not of a head's, as in the authors' code, with which their
weights were trained. vit-pytorch scales by a head's width, has no class token and no last norm, and
makes keys and values from one convolution.
"""

import torch
from torch import Tensor, nn

from vitrail.layers.attention import Attend, divide
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import ConvNorm, StridedConvNorm
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images
from vitrail.layers.pyramid import check_stages
from vitrail.layers.tokens import Token
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidBackbone
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class ConvAttention(nn.Module):
    """Attention with convolutional projections to queries, keys and values.

    A depthwise convolution with batch norm comes before each projection. Prefix tokens, which come
    before the positions of the map, bypass the convolutions.

    Args:
        dim: width of a token.
        heads: number of heads, a divisor of `dim`.
        kv_stride: stride of the convolutions of keys and values.
        dropout: dropout rate of the attention weights and of the output.

    Raises:
        ConfigError: `heads` does not divide `dim`.

    Example:
        >>> ConvAttention(8, 2, kv_stride=2, dropout=0.0)(torch.zeros(1, 1 + 12, 8), (3, 4)).shape
        torch.Size([1, 13, 8])
    """

    def __init__(self, dim: int, heads: int, kv_stride: int, dropout: float) -> None:
        super().__init__()
        divide(dim, heads)
        self.heads = heads
        self.q_conv = ConvNorm(dim, dim, 3, groups=dim)
        self.k_conv = ConvNorm(dim, dim, 3, kv_stride, groups=dim)
        self.v_conv = ConvNorm(dim, dim, 3, kv_stride, groups=dim)
        self.q, self.k, self.v = Linear(dim, dim), Linear(dim, dim), Linear(dim, dim)
        self.attend = Attend(dropout, scale=dim**-0.5)
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        """x (B, P + H · W, D), grid (H, W) → (B, P + H · W, D)."""
        prefix, patches = x.tensor_split([x.shape[1] - grid[0] * grid[1]], dim=1)
        image = patches.unflatten(1, grid).permute(0, 3, 1, 2)

        def project(conv: ConvNorm, linear: nn.Linear) -> Tensor:
            tokens = torch.cat([prefix, conv(image).flatten(2).transpose(1, 2)], dim=1)
            return linear(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k = project(self.q_conv, self.q), project(self.k_conv, self.k)
        x = self.attend(q, k, project(self.v_conv, self.v)).transpose(1, 2).flatten(2)
        return self.dropout(self.proj(x))


class CvTStage(nn.Module):
    """A coarser grid, and blocks of `ConvAttention` on it; in the last stage with a class token.

    Args:
        embed: module from (B, H, W, C) to (B, H', W', D).
        blocks: blocks called with tokens (B, P + N, D) and their grid.
        class_token: the token that joins the map; None for none.

    Example:
        >>> block = Block(8, ConvAttention(8, 2, 2, 0.0), Mlp(8, 16))
        >>> stage = CvTStage(nn.Identity(), [block], Token(1, 8))
        >>> stage(Features.from_map(torch.zeros(1, 2, 3, 8))).prefix.shape
        torch.Size([1, 1, 8])
    """

    def __init__(
        self, embed: nn.Module, blocks: list[Block], class_token: Token | None = None
    ) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList(blocks)
        self.class_token = class_token

    def forward(self, features: Features) -> Features:
        """Features on a grid → Features on this stage's."""
        features = Features.from_map(self.embed(features.to_map()))
        tokens, prefix = features.patches, 0
        if self.class_token is not None:
            tokens = torch.cat([self.class_token(tokens.shape[0]), tokens], dim=1)
            prefix = 1
        for block in self.blocks:
            tokens = block(tokens, features.grid)
        return features._replace(prefix=tokens[:, :prefix], patches=tokens[:, prefix:])


class CvT(PyramidBackbone):
    """Convolutional vision Transformer (Wu et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Any size works.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per stage.
        depth: number of blocks, per stage.
        heads: number of attention heads, per stage.
        kv_stride: stride of the convolutions of keys and values.
        mlp_ratio: hidden width of an MLP divided by the width of its stage.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.

    Example:
        >>> model = CvT(32, num_classes=5, dim=(8, 16), depth=(1, 1), heads=(1, 2))
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "CvT: Introducing Convolutions to Vision Transformers",
        "Wu et al.",
        2021,
        "https://arxiv.org/abs/2103.15808",
        change="Convolutions embed the patches and project queries, keys and values.",
    )

    def __init__(
        self,
        image_size: Size,
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        kv_stride: PositiveInt = 2,
        mlp_ratio: PositiveFloat = 4.0,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-5,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads)
        self.dim, self.strides = dim, tuple(4 * 2**i for i in range(len(dim)))
        self.grid = tuple((side - 3) // 4 + 1 for side in self.image_size)

        self.patch_embed = StridedConvNorm(channels, dim[0], 7, 4, padding=2, norm_eps=norm_eps)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages = []
        for i, width in enumerate(dim):
            coarser: nn.Module = nn.Identity()
            if i:
                coarser = StridedConvNorm(dim[i - 1], width, 3, 2, norm_eps=norm_eps)
            blocks = [
                Block(
                    width,
                    ConvAttention(width, heads[i], kv_stride, dropout),
                    Mlp(width, int(mlp_ratio * width), dropout),
                    drop_path=next(rates),
                    norm_eps=norm_eps,
                )
                for _ in range(depth[i])
            ]
            class_token = Token(1, width) if i == len(dim) - 1 else None
            stages.append(CvTStage(coarser, blocks, class_token))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix yet."""
        check_images(images, self.channels)
        return Features.from_map(self.patch_embed(images.permute(0, 2, 3, 1)))

    def encode(self, features: Features) -> Features:
        """Features on the finest grid → normalized Features on the coarsest, with a class token."""
        features = super().encode(features)
        return features._replace(prefix=self.norm(features.prefix))

    def pool(self, features: Features) -> Tensor:
        """Features → the class token (B, D)."""
        return features.prefix[:, 0]


def _variant(
    parameters: int,
    depth: tuple[int, ...],
    dim: tuple[int, ...] = (64, 192, 384),
    heads: tuple[int, ...] = (1, 3, 6),
    size: int = 224,
) -> Variant:
    keywords = {"image_size": size, "num_classes": 1000, "dim": dim, "depth": depth, "heads": heads}
    return Variant(keywords, parameters)


VARIANTS = {
    "cvt_13": _variant(19_997_480, (1, 2, 10)),
    "cvt_21": _variant(31_622_696, (1, 4, 16)),
    "cvt_w24": _variant(277_196_392, (2, 2, 20), (192, 768, 1024), (3, 12, 16), 384),
}
