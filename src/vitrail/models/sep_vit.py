"""SepViT: "SepViT: Separable Vision Transformer" (Li et al. 2022,
https://arxiv.org/abs/2203.15380).

    image (B, C, H, W)
      └ 7 × 7 convolution + norm ─ map (B, H/4, W/4, D)
          └ stage 1: Block(SeparableAttention, Mlp), positions, more blocks
              └ stages 2 to 4: 3 × 3 convolution + norm ─ (B, H/8, W/8, 2D) ─ blocks, and so on
                  └ norm ─ mean over positions ─ (B, 8D) ─ head ─ (B, classes)

Differs from ViT: attention in two steps, as in separable convolutions. First the tokens of a window
attend to each other, together with a window token that summarizes them; then the results of all
windows are mixed by the attention of their window tokens. Every second block has windows of four
times the area. A convolution after the first block of a stage encodes positions (CPVT's).

The authors' code, which is a year younger than the paper, adds the input of either step to its
output within the attention; here, as in vit-pytorch, only the block adds. It normalizes window
tokens too, but the norm of a learned constant is a learned constant. On other image sizes the
window tokens are resampled. vit-pytorch's file of this name has one token for all windows, a norm
per head, and does not read its `window_size`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.attention import Attend, divide
from vitrail.layers.conv import StridedConvNorm
from vitrail.layers.linear import Linear
from vitrail.layers.patch import check_images
from vitrail.layers.position import PositionTable
from vitrail.layers.pyramid import check_stages
from vitrail.layers.spatial_reduction import ReducedAttention
from vitrail.layers.window import Window, pad_to, partition, unpartition
from vitrail.models.base import Variant
from vitrail.models.conditional_pyramid import ConditionalPyramid
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class SeparableAttention(nn.Module):
    """Depthwise attention within windows, then pointwise attention among the windows.

    Args:
        dim: width of a token.
        heads: number of heads, a divisor of `dim`.
        window: (rows, columns) of a window.
        windows: number of windows per axis at the model's image size; each has a learned token.
        dropout: dropout rate of the attention weights and of the output.
        norm_eps: epsilon of the LayerNorm.

    Raises:
        ConfigError: `heads` does not divide `dim`.

    Example:
        >>> attention = SeparableAttention(8, 2, (2, 2), (2, 3), dropout=0.0, norm_eps=1e-6)
        >>> attention(torch.zeros(1, 4, 6, 8)).shape
        torch.Size([1, 4, 6, 8])
    """

    def __init__(
        self, dim: int, heads: int, window: Window, windows: Window, dropout: float, norm_eps: float
    ) -> None:
        super().__init__()
        divide(dim, heads)
        self.heads, self.window = heads, window
        self.window_tokens = PositionTable(windows, dim, std=0.0)
        self.qkv = Linear(dim, 3 * dim)
        self.attend = Attend(dropout)
        self.token_norm = nn.LayerNorm(dim, eps=norm_eps)
        self.token_qk = Linear(dim, 2 * dim)
        self.attend_windows = Attend(dropout)
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        batch, height, width, _ = x.shape
        x = pad_to(x, self.window)
        size = x.shape[1:3]
        windows = (size[0] // self.window[0], size[1] // self.window[1])
        tokens = self.window_tokens(windows).expand(batch, -1, -1).flatten(0, 1)[:, None]
        x = torch.cat([tokens, partition(x, self.window)], dim=1)  # (B · n, 1 + w, D)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = self.attend(q, k, v).transpose(1, 2).unflatten(0, (-1, windows[0] * windows[1]))
        tokens, cells = attended[:, :, 0].flatten(2), attended[:, :, 1:]
        qk = self.token_qk(F.gelu(self.token_norm(tokens)))
        q, k = qk.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        v = cells.permute(0, 3, 1, 2, 4).flatten(3)  # the cells of a window are one long value
        mixed = self.attend_windows(q, k, v).unflatten(-1, (-1, q.shape[-1]))
        x = mixed.permute(0, 2, 3, 1, 4).flatten(3).flatten(0, 1)
        x = unpartition(self.dropout(self.proj(x)), self.window, size)
        return x[:, :height, :width]


class SepViT(ConditionalPyramid):
    """SepViT (Li et al. 2022).

    Args:
        image_size: pixels (height, width), or one number for both. Any size works; window tokens
            are learned for this one.
        patch_size: distance between patches, in pixels; the kernel is 2 · patch_size - 1.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per stage.
        depth: number of blocks, per stage.
        heads: number of attention heads, per stage.
        window: per stage, side of the windows of its first, third, ... block; 0 for attention over
            the whole map.
        second_window: the same for every second block.
        mlp_ratio: hidden width of an MLP divided by the width of its stage.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.

    Example:
        >>> model = SepViT(16, 4, num_classes=5, dim=(8, 16), depth=(1, 2), heads=(2, 2),
        ...     window=(2, 0), second_window=(2, 0))
        >>> model(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "SepViT: Separable Vision Transformer",
        "Li et al.",
        2022,
        "https://arxiv.org/abs/2203.15380",
        change="Attention within windows, then between them: separable attention.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: PositiveInt,
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        window: tuple[NonNegativeInt, ...] = (7, 7, 7, 0),
        second_window: tuple[NonNegativeInt, ...] = (7, 14, 0, 0),
        mlp_ratio: PositiveFloat = 4.0,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads, window=window, second_window=second_window)
        self.dim = dim
        self.strides = tuple(patch_size * 2**i for i in range(len(depth)))
        self.grid = tuple(-(-side // patch_size) for side in self.image_size)

        def make_mixer(stage: int, index: int) -> nn.Module:
            width, head_count = dim[stage], heads[stage]
            side = (window, second_window)[index % 2][stage]
            if side == 0:
                return ReducedAttention(width, head_count, nn.Identity(), dropout)
            grid = tuple(-(-cells // 2**stage) for cells in self.grid)
            sides = tuple(min(side, cells) for cells in grid)
            windows = tuple(-(-cells // s) for cells, s in zip(grid, sides, strict=True))
            return SeparableAttention(width, head_count, sides, windows, dropout, norm_eps)

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


def _variant(parameters: int, dim: int, depth: int, heads: int) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 4, "num_classes": 1000, "depth": (1, 2, depth, 2),
        "dim": tuple(dim * 2**i for i in range(4)), "heads": tuple(heads * 2**i for i in range(4)),
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "sepvit_lite": _variant(3_661_128, 32, 6, 1),
    "sepvit_tiny": _variant(31_182_856, 96, 6, 3),
    "sepvit_small": _variant(46_570_504, 96, 14, 3),
    "sepvit_base": _variant(82_377_064, 128, 14, 4),
}
