"""SepViT: "SepViT: Separable Vision Transformer" (Li et al. 2022,
https://arxiv.org/abs/2203.15380).

    image (B, C, H, W)
      └ 7 × 7 convolution + norm ─ map (B, H/4, W/4, D)
          └ stage 1: Block(SeparableAttention, Mlp), positions, more blocks
              └ stages 2 to 4: 3 × 3 convolution + norm ─ (B, H/8, W/8, 2D) ─ blocks, and so on
                  └ norm ─ mean over places ─ (B, 8D) ─ head ─ (B, classes)

Differs from ViT: attention in two steps, as in separable convolutions. First tokens attend within
their window, with a token that comes to stand for it; then the windows, as they are after that, are
mixed by the attention of their tokens. Every second block has windows of four times the places. A
convolution after the first block of a stage says where a token stands (CPVT's).

The authors' code, of a year later, adds the input of either step to its output within the
attention; here, as in vit-pytorch, only the block adds. It normalises window tokens too, but the
norm of a learned constant is a learned constant. On other image sizes the tokens are resampled.
vit-pytorch's file of this name has one token for all windows, a norm a head, and does not read its
`window_size`.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.attention import Attend, divide
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import ConditionalPosition, StridedConvNorm
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images
from vitrail.layers.position import resize_positions
from vitrail.layers.spatial_reduction import ReducedAttention
from vitrail.layers.window import Window, pad_to, partition, unpartition
from vitrail.models.base import Backbone, Features, PyramidBackbone, PyramidStage, Variant
from vitrail.models.paper import Paper


class SeparableAttention(nn.Module):
    """Depthwise attention within windows, then pointwise attention of the windows.

    `windows`: how many there are (rows, columns) at image_size, each with a token of its own.
    """

    undecayed = ("window_token",)

    def __init__(
        self, dim: int, heads: int, window: Window, windows: Window, dropout: float, norm_eps: float
    ) -> None:
        super().__init__()
        divide(dim, heads)
        self.heads, self.window, self.windows = heads, window, windows
        self.window_token = nn.Parameter(torch.empty(1, math.prod(windows), dim))
        self.qkv = Linear(dim, 3 * dim)
        self.attend = Attend(dropout)
        self.token_norm = nn.LayerNorm(dim, eps=norm_eps)
        self.token_qk = Linear(dim, 2 * dim)
        self.attend_windows = Attend(dropout)
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Tokens zero, as the authors."""
        nn.init.zeros_(self.window_token)

    def tokens_at(self, windows: Window) -> Tensor:
        """(1, n, D) for a grid of n windows."""
        return resize_positions(self.window_token, self.windows, windows)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        batch, height, width, _ = x.shape
        x = pad_to(x, self.window)
        size = x.shape[1:3]
        windows = (size[0] // self.window[0], size[1] // self.window[1])
        tokens = self.tokens_at(windows).expand(batch, -1, -1).flatten(0, 1)[:, None]
        x = torch.cat([tokens, partition(x, self.window)], dim=1)  # (B · n, 1 + w, D)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = self.attend(q, k, v).transpose(1, 2).unflatten(0, (batch, -1))
        tokens, places = attended[:, :, 0].flatten(2), attended[:, :, 1:]
        qk = self.token_qk(F.gelu(self.token_norm(tokens)))
        q, k = qk.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        v = places.permute(0, 3, 1, 2, 4).flatten(3)  # a window is one long value
        mixed = self.attend_windows(q, k, v).unflatten(-1, (-1, q.shape[-1]))
        x = mixed.permute(0, 2, 3, 1, 4).flatten(3).flatten(0, 1)
        x = unpartition(self.dropout(self.proj(x)), self.window, size)
        return x[:, :height, :width]


class SepViT(PyramidBackbone):
    """A SepViT, for images of any size. Keywords as those of `Swin`, but:

    Args:
        window, second_window: places of a window on each axis, one number for each stage, and the
            same for every second block; 0 for attention to the whole map.
    """

    paper = Paper(
        "SepViT: Separable Vision Transformer",
        "Li et al.",
        2022,
        "https://arxiv.org/abs/2203.15380",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int,
        num_classes: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        window: tuple[int, ...] = (7, 7, 7, 0),
        second_window: tuple[int, ...] = (7, 14, 0, 0),
        mlp_ratio: float = 4.0,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.dim = tuple(dim)
        self.strides = tuple(patch_size * 2**i for i in range(len(depth)))
        self.grid = tuple(-(-side // patch_size) for side in self.image_size)

        def mixer(stage: int, block: int, grid: Window) -> nn.Module:
            places = (window, second_window)[block % 2][stage]
            if places == 0:
                return ReducedAttention(dim[stage], heads[stage], nn.Identity(), dropout)
            fitted = tuple(min(places, side) for side in grid)
            count = tuple(-(-side // w) for side, w in zip(grid, fitted, strict=True))
            return SeparableAttention(dim[stage], heads[stage], fitted, count, dropout, norm_eps)

        kernel = 2 * patch_size - 1
        self.patch_embed = StridedConvNorm(channels, dim[0], kernel, patch_size, norm_eps=norm_eps)
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages = []
        for i, width in enumerate(dim):
            grid = tuple(-(-side // 2**i) for side in self.grid)
            blocks: list[nn.Module] = []
            for j in range(depth[i]):
                mlp, attention = Mlp(width, int(mlp_ratio * width), dropout), mixer(i, j, grid)
                rate = next(rates)
                blocks.append(Block(width, attention, mlp, drop_path=rate, norm_eps=norm_eps))
            blocks.insert(1, ConditionalPosition(width))
            first = (
                StridedConvNorm(dim[i - 1], width, 3, 2, norm_eps=norm_eps) if i else nn.Identity()
            )
            stages.append(PyramidStage(first, blocks))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix."""
        check_images(images, self.channels)
        return Features.from_map(self.emb_dropout(self.patch_embed(images.permute(0, 2, 3, 1))))

    def weights_for(self, other: Backbone) -> dict[str, Tensor]:
        """The weights for `other`, this model at another image_size: its windows' tokens."""
        weights, theirs = self.state_dict(), dict(other.named_modules())
        for name, module in self.named_modules():
            twin = theirs[name]
            if isinstance(module, SeparableAttention) and isinstance(twin, SeparableAttention):
                weights[f"{name}.window_token"] = module.tokens_at(twin.windows)
        return weights


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
