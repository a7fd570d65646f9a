"""T2T-ViT: "Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet"
(Yuan et al. 2021, https://arxiv.org/abs/2101.11986).

    image (B, C, H, W)
      └ soft split, 7 × 7 pixels every 4 ─ (B, H/4 · W/4, 49 C) ─ TokenTransformer ─ (…, T)
          └ soft split, 3 × 3 tokens every 2 ─ (B, H/8 · W/8, 9 T) ─ TokenTransformer ─ (…, T)
              └ soft split, 3 × 3 every 2, projected ─ (B, H/16 · W/16, D)
                  └ [class token, patches] + fixed sines ─ depth × Block(Attention, Mlp)
                      └ norm ─ class token (B, D) ─ head ─ (B, classes)

T2T-ViT differs from ViT in its embedding: overlapping windows of tokens are joined to longer tokens
three times, with attention in between. The backbone after it is deep and narrow. Positions are
fixed sines, and queries, keys and values have no bias. The last soft split and its projection are
one convolution here.

The token transformers have full attention ("T2T-ViT_t"; the smaller variants of the paper have a
Performer's). They scale logits by the width of their input, as in the authors' code. vit-pytorch's
keep the width of the soft split, 1323 channels where the paper has 64, and learn positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import DataError
from vitrail.layers.attention import Attend, Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images
from vitrail.layers.position import sequence_positions
from vitrail.layers.tokens import Token
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class TokenTransformer(nn.Module):
    """A transformer block with one head that changes the width of the tokens.

    The residual connection around the attention adds the values, not the input.

    Args:
        dim_in: width of the input tokens.
        dim: width of the output tokens.
        dropout: dropout rate of attention weights, projection and MLP.
        norm_eps: epsilon of the LayerNorms.

    Example:
        >>> TokenTransformer(27, 8, dropout=0.0, norm_eps=1e-5)(torch.zeros(2, 4, 27)).shape
        torch.Size([2, 4, 8])
    """

    def __init__(self, dim_in: int, dim: int, dropout: float, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim_in, eps=norm_eps)
        self.qkv = Linear(dim_in, 3 * dim, bias=False)
        self.attend = Attend(dropout, scale=dim_in**-0.5)
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, dim, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, C) → (B, N, D)."""
        q, k, v = self.qkv(self.norm1(x)).unsqueeze(1).chunk(3, dim=-1)
        x = v + self.dropout(self.proj(self.attend(q, k, v)))
        return (x + self.mlp(self.norm2(x))).squeeze(1)


class SoftSplitProjection(nn.Conv2d):
    """The last soft split, 3 × 3 tokens every 2, and the linear projection after it.

    Args:
        dim_in: width of the input tokens.
        dim: width of the output tokens.

    Example:
        >>> SoftSplitProjection(4, 8)(torch.zeros(2, 4, 6, 6)).shape
        torch.Size([2, 8, 3, 3])
    """

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__(dim_in, dim, kernel_size=3, stride=2, padding=1)

    def reset_parameters(self) -> None:
        """Starts as the linear layer that it is in the authors' code."""
        nn.init.trunc_normal_(self.weight, std=0.02)
        assert self.bias is not None
        nn.init.zeros_(self.bias)


class TokensToToken(nn.Module):
    """The tokens-to-token module: three soft splits, with a token transformer after the first two.

    Args:
        channels: number of channels of an image.
        token_dim: width of the tokens between the soft splits.
        dim: width of the output tokens.
        dropout: dropout rate of the token transformers.
        norm_eps: epsilon of their LayerNorms.

    Example:
        >>> TokensToToken(3, 4, 8, dropout=0.0, norm_eps=1e-5)(torch.zeros(2, 3, 32, 48)).shape
        torch.Size([2, 2, 3, 8])
    """

    def __init__(
        self, channels: int, token_dim: int, dim: int, dropout: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.transformer1 = TokenTransformer(49 * channels, token_dim, dropout, norm_eps)
        self.transformer2 = TokenTransformer(9 * token_dim, token_dim, dropout, norm_eps)
        self.project = SoftSplitProjection(token_dim, dim)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, H, W) → feature map (B, H / 16, W / 16, D)."""
        x = self.transformer1(F.unfold(images, 7, padding=2, stride=4).transpose(1, 2))
        x = x.transpose(1, 2).unflatten(2, soft_split_grid(images.shape[2:], 7, 4))
        grid = soft_split_grid(x.shape[2:], 3, 2)
        x = self.transformer2(F.unfold(x, 3, padding=1, stride=2).transpose(1, 2))
        return self.project(x.transpose(1, 2).unflatten(2, grid)).permute(0, 2, 3, 1)


def check_first_window(size: tuple[int, ...]) -> None:
    """Checks that the first window of the soft split fits on an image, with its padding.

    Args:
        size: pixels (height, width).

    Raises:
        DataError: a side is below 3 pixels.

    Example:
        >>> check_first_window((3, 5))
    """
    if min(size) < 3:
        raise DataError(
            f"an image of {' x '.join(map(str, size))} pixels is smaller than a soft split reads: "
            "give one of 3 x 3 pixels at least."
        )


def soft_split_grid(size: tuple[int, ...], kernel: int, stride: int) -> tuple[int, ...]:
    """The grid of the tokens after a soft split.

    Args:
        size: pixels or tokens per axis before it.
        kernel: side of the windows that are joined.
        stride: distance between them.

    Returns:
        Tokens per axis.

    Example:
        >>> soft_split_grid((224, 224), 7, 4)
        (56, 56)
    """
    return tuple((side + 2 * (stride // 2) - kernel) // stride + 1 for side in size)


class T2TViT(SequenceBackbone):
    """Tokens-to-token ViT (Yuan et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Any size from 3 pixels on works.
        num_classes: width of the logits; 0 for no head, so that `forward` gives pooled features.
        dim: width of a token.
        depth: number of blocks after the tokens-to-token module.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        token_dim: width of the tokens between the soft splits.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.

    Example:
        >>> model = T2TViT(32, num_classes=5, dim=16, depth=1, heads=2, mlp_dim=32, token_dim=8)
        >>> model(torch.zeros(2, 3, 32, 32)).shape, model.grid
        (torch.Size([2, 5]), (2, 2))
    """

    paper = Paper(
        "Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet",
        "Yuan et al.",
        2021,
        "https://arxiv.org/abs/2101.11986",
        change="Neighboring tokens are merged step by step before a deep, narrow ViT.",
    )

    def __init__(
        self,
        image_size: Size,
        num_classes: NonNegativeInt,
        dim: PositiveInt,
        depth: PositiveInt,
        heads: PositiveInt,
        mlp_dim: PositiveInt,
        token_dim: PositiveInt = 64,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-5,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_first_window(self.image_size)
        self.dim = dim
        grid = soft_split_grid(soft_split_grid(self.image_size, 7, 4), 3, 2)
        self.grid = soft_split_grid(grid, 3, 2)
        self.patch_embed = TokensToToken(channels, token_dim, dim, dropout, norm_eps)
        self.class_token = Token(1, dim)
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Attention(dim, heads, dropout=dropout, bias=False),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, 1, D)."""
        check_images(images, self.channels)
        if not torch.compiler.is_compiling():
            check_first_window(tuple(images.shape[2:]))
        features = Features.from_map(self.patch_embed(images))
        patches = features.patches
        positions = sequence_positions(1 + patches.shape[1], self.dim).to(patches)
        prefix = self.emb_dropout(self.class_token(patches.shape[0]) + positions[:, :1])
        patches = self.emb_dropout(patches + positions[:, 1:])
        return features._replace(patches=patches, prefix=prefix)

    def pool(self, features: Features) -> Tensor:
        """Features → the class token (B, D)."""
        return features.prefix[:, 0]


def _variant(parameters: int, dim: int, depth: int) -> Variant:
    keywords = {
        "image_size": 224, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": dim // 64, "mlp_dim": 3 * dim,
    }  # fmt: skip
    return Variant(keywords, parameters)


# Parameters that learn in the authors' code, dim, depth. Their files also hold the fixed sines:
# 197 · dim numbers, which are computed here.
VARIANTS = {
    "t2t_vit_t_14": _variant(21_465_422, 384, 14),
    "t2t_vit_t_19": _variant(39_084_686, 448, 19),
    "t2t_vit_t_24": _variant(64_000_590, 512, 24),
}
