"""ScalableViT: "ScalableViT: Rethinking the Context-oriented Generalization of Vision Transformer"
(Yang et al. 2022, https://arxiv.org/abs/2203.10790).

    image (B, C, H, W)
      └ 7 × 7 convolution + norm ─ map (B, H/4, W/4, D)
          └ stage 1: Block(InteractiveWindowAttention, Mlp), positions,
          │          Block(ScalableAttention, Mlp), and so on in turn
              └ stages 2 to 4: 3 × 3 convolution + norm ─ (B, H/8, W/8, 2D) ─ blocks, and so on
                  └ norm ─ mean over positions ─ (B, 8D) ─ head ─ (B, classes)

Differs from ViT: every second block attends to the whole map, but to a coarser copy of it, and with
queries and keys of their own width. The blocks between attend within windows, and a convolution of
the values connects the windows. A convolution after the first block of a stage encodes positions
(CPVT's). The head has a hidden layer, which the published parameter counts include.

The model follows the authors' code, except that a map that windows or reductions do not divide is
padded with zeros. vit-pytorch's file of this name has dense convolutions where the authors have one
filter per channel, runs an MLP where the windowed attention belongs and the other way round, and
projects keys and values directly from the strided convolution.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.attention import Attend, divide
from vitrail.layers.conv import DepthwiseConv, StridedConvNorm
from vitrail.layers.linear import Linear
from vitrail.layers.patch import check_images
from vitrail.layers.pyramid import check_stages
from vitrail.layers.spatial_reduction import ReducedAttention
from vitrail.layers.window import pad_to, partition, unpartition
from vitrail.models.base import Variant
from vitrail.models.conditional_pyramid import ConditionalPyramid
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class ScalableAttention(nn.Module):
    """Scalable self-attention (SSA): keys and values of a coarser map, keys of their own width.

    Args:
        dim: width of a token.
        heads: number of heads, a divisor of `dim` and of `key_dim`.
        reduction: how much coarser the map of keys and values is on each axis.
        key_dim: width of queries and keys, of all heads together.
        dropout: dropout rate of the attention weights and of the output.
        norm_eps: epsilon of the LayerNorm.

    Raises:
        ConfigError: `heads` does not divide `dim` or `key_dim`.

    Example:
        >>> attention = ScalableAttention(8, 2, 2, key_dim=12, dropout=0.0, norm_eps=1e-6)
        >>> attention(torch.zeros(1, 3, 4, 8)).shape
        torch.Size([1, 3, 4, 8])
    """

    def __init__(
        self, dim: int, heads: int, reduction: int, key_dim: int, dropout: float, norm_eps: float
    ) -> None:
        super().__init__()
        divide(dim, heads), divide(key_dim, heads)
        self.heads, self.reduction = heads, (reduction, reduction)
        self.q = Linear(dim, key_dim)
        self.reduce = nn.Conv2d(dim, dim, reduction, reduction, groups=dim)
        self.scale = Linear(dim, key_dim)
        self.norm = nn.LayerNorm(key_dim, eps=norm_eps)
        self.kv = Linear(key_dim, key_dim + dim)
        self.attend = Attend(dropout)
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        q = self.q(x.flatten(1, 2))
        coarse = self.reduce(pad_to(x, self.reduction).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        coarse = F.gelu(self.norm(self.scale(coarse.flatten(1, 2))))
        k, v = self.kv(coarse).split([q.shape[-1], x.shape[-1]], dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        attended = self.attend(q, k, v)
        return self.dropout(self.proj(attended.transpose(1, 2).reshape(x.shape)))


class InteractiveWindowAttention(nn.Module):
    """Interactive windowed self-attention (IWSA), with a convolution of the values.

    Args:
        dim: width of a token.
        heads: number of heads, a divisor of `dim`.
        window: side of a window; a smaller map is one window.
        dropout: dropout rate of the attention weights and of the output.

    Raises:
        ConfigError: `heads` does not divide `dim`.

    Example:
        >>> InteractiveWindowAttention(8, 2, 2, dropout=0.0)(torch.zeros(1, 3, 4, 8)).shape
        torch.Size([1, 3, 4, 8])
    """

    def __init__(self, dim: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        divide(dim, heads)
        self.heads, self.window = heads, window
        self.qkv = Linear(dim, 3 * dim)
        self.attend = Attend(dropout)
        self.local = DepthwiseConv(dim)  # the paper's local interactive module
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        height, width = x.shape[1:3]
        window = (min(self.window, height), min(self.window, width))
        x = pad_to(x, window)
        qkv = self.qkv(partition(x, window))
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = self.attend(q, k, v).transpose(1, 2).flatten(2)
        attended, values = (
            unpartition(t, window, x.shape[1:3])[:, :height, :width]
            for t in (attended, qkv.chunk(3, dim=-1)[2])
        )
        return self.dropout(self.proj(attended + self.local(values)))


class ScalableViT(ConditionalPyramid):
    """ScalableViT (Yang et al. 2022).

    Args:
        image_size: pixels (height, width), or one number for both. Any size works.
        patch_size: distance between patches, in pixels; the kernel is 2 · patch_size - 1.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per stage.
        depth: number of blocks, per stage.
        heads: number of attention heads, per stage.
        reduction: per stage, how much coarser the map of keys and values of scalable attention is
            on each axis; 1 for plain self-attention.
        key_ratio: per stage, width of the queries and keys of scalable attention divided by the
            width of the stage; not used where the reduction is 1.
        window: side of the windows.
        mlp_ratio: hidden width of an MLP divided by the width of its stage.
        head_dim: hidden width of the head; 0 for a linear head.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.

    Example:
        >>> model = ScalableViT(16, 4, num_classes=5, dim=(8, 16), depth=(2, 2), heads=(2, 2),
        ...     reduction=(2, 1), key_ratio=(1.25, 1.0), window=2, head_dim=8)
        >>> model(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "ScalableViT: Rethinking the Context-oriented Generalization of Vision Transformer",
        "Yang et al.",
        2022,
        "https://arxiv.org/abs/2203.10790",
        change="Attention scales tokens and widths; windows exchange information.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: PositiveInt,
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        reduction: tuple[PositiveInt, ...] = (8, 4, 2, 1),
        key_ratio: tuple[PositiveFloat, ...] = (1.25, 1.25, 1.25, 1.0),
        window: PositiveInt = 7,
        mlp_ratio: PositiveFloat = 4.0,
        head_dim: NonNegativeInt = 4096,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads, reduction=reduction, key_ratio=key_ratio)
        self.dim, self.head_dim, self.norm_eps = dim, head_dim, norm_eps
        self.strides = tuple(patch_size * 2**i for i in range(len(depth)))
        self.grid = tuple(-(-side // patch_size) for side in self.image_size)

        def make_mixer(stage: int, index: int) -> nn.Module:
            width, head_count, ratio = dim[stage], heads[stage], reduction[stage]
            if index % 2 == 0:
                return InteractiveWindowAttention(width, head_count, window, dropout)
            if ratio == 1:
                return ReducedAttention(width, head_count, nn.Identity(), dropout)
            key_dim = int(width * key_ratio[stage])
            return ScalableAttention(width, head_count, ratio, key_dim, dropout, norm_eps)

        def make_downsample(stage: int) -> nn.Module:
            return StridedConvNorm(dim[stage - 1], dim[stage], 3, 2, norm_eps=norm_eps)

        kernel = 2 * patch_size - 1
        self.patch_embed = StridedConvNorm(channels, dim[0], kernel, patch_size, norm_eps=norm_eps)
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.blocks = self.make_stages(
            depth, make_downsample, make_mixer, mlp_ratio=(mlp_ratio,) * len(dim), dropout=dropout,
            drop_path=drop_path, norm_eps=norm_eps,
        )  # fmt: skip
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix."""
        check_images(images, self.channels)
        return Features.from_map(self.emb_dropout(self.patch_embed(images.permute(0, 2, 3, 1))))

    def make_head(self, num_classes: int) -> nn.Module:
        """num_classes → a head with a hidden layer, linear if `head_dim` is 0; Identity for 0."""
        if not (num_classes and self.head_dim):
            return super().make_head(num_classes)
        return nn.Sequential(
            Linear(self.pooled_dim, self.head_dim),
            nn.LayerNorm(self.head_dim, eps=self.norm_eps),
            nn.GELU(),
            Linear(self.head_dim, num_classes),
        )


def _variant(
    parameters: int, dim: int, depth: tuple[int, ...], heads: int, key_ratio: tuple[float, ...]
) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 4, "num_classes": 1000, "depth": depth,
        "dim": tuple(dim * 2**i for i in range(4)), "heads": tuple(heads * 2**i for i in range(4)),
        "key_ratio": key_ratio,
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "scalable_vit_small": _variant(32_000_472, 64, (2, 2, 20, 2), 2, (1.25, 1.25, 1.25, 1.0)),
    "scalable_vit_base": _variant(81_881_624, 96, (2, 2, 14, 6), 3, (2.0, 1.25, 1.25, 1.0)),
    "scalable_vit_large": _variant(109_288_840, 128, (2, 6, 12, 4), 4, (0.25, 0.5, 1.0, 1.0)),
}
