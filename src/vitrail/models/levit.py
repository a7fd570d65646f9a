"""LeViT: "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference"
(Graham et al. 2021, https://arxiv.org/abs/2104.01136).

    image (B, C, H, W)
      └ stem, four convolutions of stride 2 ─ map (B, H/16, W/16, D)
          └ stage 1: depth × LeViTBlock(LeViTAttention, MLP)
              └ stages 2 and 3: a block with queries at every second position ─ (B, H/32, W/32, D2)
                  │  then depth × LeViTBlock, and so on
                  └ mean over positions ─┬ head.cls ──┬ mean ─ (B, classes)
                                         └ head.dist ─┘

Differs from ViT: a pyramid that starts at stride 16. Batch norm after every linear layer, which
`deploy.fuse` folds, replaces LayerNorm before it; the activation is Hardswish; keys are narrower
than values. There are no positions but a learned attention bias per distance |dy|, |dx|. A second
head learns from a distillation teacher as DeiT's does, but reads the same features. For another
image size the tables of biases are resampled.
"""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attend
from vitrail.layers.block import DropPath, drop_path_rates
from vitrail.layers.conv import ConvNorm, LinearNorm, channels_last
from vitrail.layers.heads import DistillationHeads
from vitrail.layers.patch import check_images
from vitrail.layers.pyramid import check_stages
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidBackbone, PyramidStage
from vitrail.values import NonNegativeInt, PositiveInt, Rate, Size

Grid = tuple[int, ...]


class AttentionBias(nn.Module):
    """LeViT's attention bias: a number per head and distance (|dy|, |dx|) on a grid.

    The parameter `table` has shape (heads, H · W) and starts from zeros. Weight decay spares it.
    For another grid it is resampled bilinearly, so that it spans the same distances.

    Args:
        grid: number of keys per axis, (H, W).
        heads: number of attention heads.
        stride: distance between queries; the keys are at every position.

    Example:
        >>> AttentionBias((4, 6), heads=2, stride=2)((4, 6)).shape
        torch.Size([2, 6, 24])
    """

    undecayed: tuple[str, ...] = ("table",)

    def __init__(self, grid: Grid, heads: int, stride: int) -> None:
        super().__init__()
        self.grid, self.stride = grid, stride
        self.table = nn.Parameter(torch.empty(heads, grid[0] * grid[1]))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the table to zeros."""
        nn.init.zeros_(self.table)

    def forward(self, grid: Grid) -> Tensor:
        """grid (H, W) of the keys → the bias (heads, queries, H · W)."""
        dy, dx = (
            (position[:: self.stride, None] - position).abs()
            for position in (torch.arange(side, device=self.table.device) for side in grid)
        )
        distance = (dy[:, None, :, None] * grid[1] + dx[:, None, :]).flatten(2).flatten(0, 1)
        table = self._table_for(grid)
        return table.index_select(1, distance.flatten()).unflatten(1, distance.shape)

    def resampled_to(self, other: "AttentionBias") -> dict[str, Tensor]:
        """other, a bias for another grid → its parameters by name, resampled from this one's."""
        return {"table": self._table_for(other.grid)}

    def _table_for(self, grid: Grid) -> Tensor:
        if grid == self.grid:
            return self.table
        table = self.table.unflatten(1, self.grid)[None]
        return F.interpolate(table, grid, mode="bilinear", align_corners=True)[0].flatten(1)


class LeViTAttention(nn.Module):
    """Multi-head attention of every `stride`-th position of a map to all of its positions.

    Values are twice as wide as keys, and four times where the stride is 2.

    Args:
        dim_in: number of input channels.
        dim: number of output channels.
        heads: number of heads.
        key_dim: width of the queries and keys of a head.
        grid: positions per axis at the model's image size, (H, W).
        stride: distance between queries.

    Example:
        >>> LeViTAttention(8, 12, 2, 4, (4, 6), stride=2).eval()(torch.zeros(1, 4, 6, 8)).shape
        torch.Size([1, 2, 3, 12])
    """

    def __init__(
        self, dim_in: int, dim: int, heads: int, key_dim: int, grid: Grid, stride: int = 1
    ) -> None:
        super().__init__()
        self.heads, self.key_dim, self.stride = heads, key_dim, stride
        value_dim = 2 * stride * key_dim
        self.q = LinearNorm(dim_in, heads * key_dim)
        self.kv = LinearNorm(dim_in, heads * (key_dim + value_dim))
        self.bias = AttentionBias(grid, heads, stride)
        self.attend = Attend()
        self.activation = nn.Hardswish()
        self.proj = LinearNorm(heads * value_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / stride, W / stride, D)."""
        queries = x[:, :: self.stride, :: self.stride]
        q = self.q(queries).unflatten(-1, (self.heads, -1)).flatten(1, 2).transpose(1, 2)
        kv = self.kv(x).unflatten(-1, (self.heads, -1)).flatten(1, 2).transpose(1, 2)
        k, v = kv.tensor_split([self.key_dim], dim=-1)
        out = self.attend(q, k, v, self.bias(tuple(x.shape[1:3]))).transpose(1, 2).flatten(2)
        return self.proj(self.activation(out)).unflatten(1, queries.shape[1:3])


class LeViTBlock(nn.Module):
    """Attention, then an MLP of twice its width; a shortcut around each where the grid stays.

    Args:
        dim: number of output channels of the attention.
        attention: the attention; one with a stride above 1 has no shortcut.
        drop_path: rate of stochastic depth of both branches.

    Example:
        >>> attention = LeViTAttention(8, 8, 2, 4, (4, 6))
        >>> LeViTBlock(8, attention, 0.0).eval()(torch.zeros(1, 4, 6, 8)).shape
        torch.Size([1, 4, 6, 8])
    """

    def __init__(self, dim: int, attention: LeViTAttention, drop_path: float) -> None:
        super().__init__()
        self.attention = attention
        self.widen = LinearNorm(dim, 2 * dim, activation=nn.Hardswish())
        self.narrow = LinearNorm(2 * dim, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / stride, W / stride, D)."""
        attended = self.attention(x)
        x = attended if self.attention.stride > 1 else x + self.drop_path(attended)
        return x + self.drop_path(self.narrow(self.widen(x)))


class LeViT(PyramidBackbone):
    """LeViT (Graham et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Any size works; the tables of
            attention biases are learned for this one.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per stage; the first is a multiple of 8.
        depth: number of blocks, per stage.
        heads: number of attention heads, per stage. The attention that makes a coarser grid has as
            many as fit the width of the stage before.
        key_dim: width of a head's queries and keys.
        channels: number of channels of an image.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.

    Example:
        >>> model = LeViT(64, num_classes=5, dim=(16, 24), depth=(1, 1), heads=(2, 3), key_dim=8)
        >>> model(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference",
        "Graham et al.",
        2021,
        "https://arxiv.org/abs/2104.01136",
        change="Built for speed: convolutional stem, batch norm, downsampling attention.",
    )

    def __init__(
        self,
        image_size: Size,
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        key_dim: PositiveInt,
        channels: PositiveInt = 3,
        drop_path: Rate = 0.0,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads)
        if dim[0] % 8:
            raise ConfigError(f"dim[0]={dim[0]} is not a multiple of 8, which the stem needs.")
        if any(width < key_dim for width in dim[:-1]):
            raise ConfigError(f"key_dim={key_dim} is larger than the smallest of dim={dim}.")
        self.dim, self.strides = dim, tuple(16 * 2**i for i in range(len(dim)))
        self.grid = grid = tuple(-(-side // 16) for side in self.image_size)

        widths = (channels, *(dim[0] // divisor for divisor in (8, 4, 2, 1)))
        self.stem = nn.Sequential(
            *(
                ConvNorm(*pair, 3, 2, activation=nn.Hardswish(inplace=True) if i < 3 else None)
                for i, pair in enumerate(itertools.pairwise(widths))
            )
        )
        rates = iter(drop_path_rates(drop_path, sum(depth) + len(dim) - 1))
        self.blocks = nn.ModuleList()
        for i, width in enumerate(dim):
            downsample: nn.Module = nn.Identity()
            if i:
                head_count = dim[i - 1] // key_dim
                attention = LeViTAttention(dim[i - 1], width, head_count, key_dim, grid, 2)
                downsample = LeViTBlock(width, attention, next(rates))
                grid = tuple(-(-side // 2) for side in grid)
            attentions = [
                LeViTAttention(width, width, heads[i], key_dim, grid) for _ in range(depth[i])
            ]
            blocks = [LeViTBlock(width, attention, next(rates)) for attention in attentions]
            self.blocks.append(PyramidStage(downsample, blocks))
        self.norm = nn.Identity()
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix."""
        check_images(images, self.channels)
        x = self.stem(channels_last(images))
        return Features.from_map(x.permute(0, 2, 3, 1))

    def make_head(self, num_classes: int) -> nn.Module:
        """num_classes → two heads, each a batch norm and a linear layer; `nn.Identity` for 0."""
        if not num_classes:
            return nn.Identity()
        width = self.pooled_dim
        cls, dist = (
            nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, num_classes)) for _ in range(2)
        )
        return DistillationHeads(cls, dist)

    def init_weights(self) -> None:
        """Initializes every parameter as the authors' code does.

        Linear layers with a batch norm start as PyTorch's own, the heads' from std 0.02. The last
        batch norm of each residual branch starts from 0, so that the branch does (Goyal et al.
        2017, https://arxiv.org/abs/1706.02677).
        """
        super().init_weights()
        for module in self.modules():
            if isinstance(module, LinearNorm):
                module.linear.reset_parameters()
            elif isinstance(module, LeViTBlock):
                nn.init.zeros_(module.narrow.norm.get_parameter("weight"))
                if module.attention.stride == 1:
                    nn.init.zeros_(module.attention.proj.norm.get_parameter("weight"))


def _variant(
    parameters: int, dim: tuple[int, ...], depth: tuple[int, ...], heads: tuple[int, ...], key: int
) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": 224, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": heads, "key_dim": key,
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "levit_128s": _variant(7_777_058, (128, 256, 384), (2, 3, 4), (4, 6, 8), 16),
    "levit_128": _variant(9_213_936, (128, 256, 384), (4, 4, 4), (4, 8, 12), 16),
    "levit_192": _variant(10_947_069, (192, 288, 384), (4, 4, 4), (3, 5, 6), 32),
    "levit_256": _variant(18_893_876, (256, 384, 512), (4, 4, 4), (4, 6, 8), 32),
    "levit_384": _variant(39_128_836, (384, 512, 768), (4, 4, 4), (6, 9, 12), 32),
}
