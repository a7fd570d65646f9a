"""Parallel ViT: "Three things everyone should know about Vision Transformers" (Touvron et al. 2022,
https://arxiv.org/abs/2203.09795).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D)
          └ [class token, patches] + position ─ x (B, 1 + N, D)
              └ depth × x + attention₁(x) + attention₂(x), then x + mlp₁(x) + mlp₂(x)
                  └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

Parallel ViT differs from ViT in that several branches read the same x. Of two consecutive blocks
the second hardly needs the output of the first, so both may read the same input, and half the depth
has the accuracy of the whole. Every branch has a norm, a LayerScale and a stochastic depth of its
own.
"""

from collections import abc
from typing import Literal

from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import DropPath, LayerScale, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.models.base import Variant
from vitrail.models.paper import Paper
from vitrail.models.vit_base import PlainViT
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class Branch(nn.Module):
    """A residual branch without its addition: norm, layer, LayerScale and stochastic depth.

    Args:
        dim: width of a token.
        layer: module from (B, N, D) to the same shape.
        drop_path: rate of stochastic depth.
        layer_scale: initial factor of LayerScale; None for no LayerScale.
        norm_eps: epsilon of the LayerNorm.

    Example:
        >>> Branch(8, Mlp(8, 16), 0.0, None, 1e-6)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        layer: nn.Module,
        drop_path: float,
        layer_scale: float | None,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.layer = layer
        self.scale = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) → (B, N, D)."""
        return self.drop_path(self.scale(self.layer(self.norm(x))))


class ParallelBlock(nn.Module):
    """A block of parallel branches: x plus all attentions of x, then x plus all MLPs of x.

    Args:
        attentions: branches with attention.
        mlps: branches with an MLP.

    Example:
        >>> block = ParallelBlock([], [Branch(8, Mlp(8, 16), 0.0, None, 1e-6) for _ in range(2)])
        >>> block(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, attentions: abc.Iterable[Branch], mlps: abc.Iterable[Branch]) -> None:
        super().__init__()
        self.attentions, self.mlps = nn.ModuleList(attentions), nn.ModuleList(mlps)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) → (B, N, D)."""
        for branches in (self.attentions, self.mlps):
            same = x
            for branch in branches:
                x = x + branch(same)
        return x


class ParallelViT(PlainViT):
    """Vision Transformer with parallel branches (Touvron et al. 2022).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other that patches divide.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        branches: number of attentions, and of MLPs, side by side in each block.
        channels: number of channels of an image.
        pool: "cls" reads the class token; "mean" averages the patches, without a class token.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        layer_scale: initial factor of LayerScale; None for no LayerScale.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = ParallelViT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Three things everyone should know about Vision Transformers",
        "Touvron et al.",
        2022,
        "https://arxiv.org/abs/2203.09795",
        change="Two blocks side by side instead of one after the other.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: PositiveInt,
        depth: PositiveInt,
        heads: PositiveInt,
        mlp_dim: PositiveInt,
        branches: PositiveInt = 2,
        channels: PositiveInt = 3,
        pool: Literal["cls", "mean"] = "cls",
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        layer_scale: float | None = None,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, patch_size, num_classes, dim, channels, pool, emb_dropout)

        def parallel(make: abc.Callable[[], nn.Module], rate: float) -> list[Branch]:
            return [Branch(dim, make(), rate, layer_scale, norm_eps) for _ in range(branches)]

        self.blocks = nn.ModuleList(
            ParallelBlock(
                parallel(lambda: Attention(dim, heads, dropout=dropout), rate),
                parallel(lambda: Mlp(dim, mlp_dim, dropout), rate),
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)


def _variant(parameters: int, dim: int, heads: int) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000, "layer_scale": 1e-5,
        "dim": dim, "depth": 18, "heads": heads, "mlp_dim": 4 * dim, "branches": 2,
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "vit_small_patch16_18x2_224": _variant(64_665_448, 384, 6),
    "vit_base_patch16_18x2_224": _variant(256_731_880, 768, 12),
}
