"""LeViT: "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference"
(Graham et al. 2021, https://arxiv.org/abs/2104.01136).

    image (B, C, H, W)
      └ stem, four convolutions of stride 2 ─ map (B, H/16, W/16, D)
          └ stage 1: depth × LeViTBlock(OffsetAttention, MLP)
              └ stages 2 and 3: a block whose queries are every second place ─ (B, H/32, W/32, D2)
                  │  then depth × LeViTBlock, and so on
                  └ mean over places ─┬ head.cls ──┬ mean ─ (B, classes)
                                      └ head.dist ─┘

Differs from ViT: a pyramid that begins coarse; batch norm after every linear layer, which costs
nothing in evaluation, in place of LayerNorm before; Hardswish; keys narrower than values; no
positions but a bias for every distance |dy|, |dx|; a second head that learns from a teacher, as
DeiT's, but reads the same features. Another image size resamples the tables of biases.
"""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.attention import Attend
from vitrail.layers.block import DropPath, drop_path_rates
from vitrail.layers.conv import ConvNorm, LinearNorm
from vitrail.layers.heads import DistillationHeads
from vitrail.layers.patch import check_images
from vitrail.models.base import Backbone, Features, PyramidBackbone, PyramidStage, Variant
from vitrail.models.paper import Paper

Grid = tuple[int, ...]


class OffsetBias(nn.Module):
    """A bias on attention logits for each head and each distance (|dy|, |dx|) on a grid.

    Queries stand at every `stride`-th place. The table is (H, places of the grid).
    """

    def __init__(self, grid: Grid, heads: int, stride: int) -> None:
        super().__init__()
        self.grid, self.stride = grid, stride
        self.bias_table = nn.Parameter(torch.empty(heads, grid[0] * grid[1]))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """No place is nearer than another."""
        nn.init.zeros_(self.bias_table)

    def table_at(self, grid: Grid) -> Tensor:
        """The table of another grid, which spans the same distances."""
        if grid == self.grid:
            return self.bias_table
        table = self.bias_table.unflatten(1, self.grid)[None]
        return F.interpolate(table, grid, mode="bilinear", align_corners=True)[0].flatten(1)

    def forward(self, grid: Grid) -> Tensor:
        """The bias (H, queries, keys) on a grid."""
        dy, dx = (
            (place[:: self.stride, None] - place).abs()
            for place in (torch.arange(side, device=self.bias_table.device) for side in grid)
        )
        distance = (dy[:, None, :, None] * grid[1] + dx[:, None, :]).flatten(2).flatten(0, 1)
        return self.table_at(grid).index_select(1, distance.flatten()).unflatten(1, distance.shape)


class OffsetAttention(nn.Module):
    """Multi-head attention of every `stride`-th place of a map to all of its places.

    Values are twice as wide as keys, and four times where the stride is 2.
    """

    def __init__(
        self, dim_in: int, dim: int, heads: int, key_dim: int, grid: Grid, stride: int = 1
    ) -> None:
        super().__init__()
        self.heads, self.key_dim, self.stride = heads, key_dim, stride
        value_dim = 2 * stride * key_dim
        self.q = LinearNorm(dim_in, heads * key_dim)
        self.kv = LinearNorm(dim_in, heads * (key_dim + value_dim))
        self.bias = OffsetBias(grid, heads, stride)
        self.attend = Attend()
        self.activation = nn.Hardswish()
        self.proj = LinearNorm(heads * value_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / stride, W / stride, D)."""
        asking = x[:, :: self.stride, :: self.stride]
        q = self.q(asking).unflatten(-1, (self.heads, -1)).flatten(1, 2).transpose(1, 2)
        kv = self.kv(x).unflatten(-1, (self.heads, -1)).flatten(1, 2).transpose(1, 2)
        k, v = kv.tensor_split([self.key_dim], dim=-1)
        out = self.attend(q, k, v, self.bias(tuple(x.shape[1:3]))).transpose(1, 2).flatten(2)
        return self.proj(self.activation(out)).unflatten(1, asking.shape[1:3])


class LeViTBlock(nn.Module):
    """Attention, then an MLP of twice its width; a shortcut around each where the grid stays."""

    def __init__(self, dim: int, attention: OffsetAttention, drop_path: float) -> None:
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
    """A LeViT.

    Args:
        dim, depth, heads: width, blocks and attention heads, one number for each stage.
        key_dim: width of a head's queries and keys. Where the grid gets coarser, as many heads as
            fit the width. The rest as in `ViT`. Images of any size.
    """

    paper = Paper(
        "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference",
        "Graham et al.",
        2021,
        "https://arxiv.org/abs/2104.01136",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        num_classes: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        key_dim: int,
        channels: int = 3,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.dim, self.strides = tuple(dim), tuple(16 * 2**i for i in range(len(dim)))
        self.grid = grid = tuple(-(-side // 16) for side in self.image_size)

        widths = (channels, *(dim[0] // part for part in (8, 4, 2, 1)))
        stem = [
            ConvNorm(before, width, 3, 2, activation=nn.Hardswish(inplace=True))
            for before, width in itertools.pairwise(widths)
        ]
        stem[-1].activation = nn.Identity()
        self.stem = nn.Sequential(*stem)
        rates = iter(drop_path_rates(drop_path, sum(depth) + len(dim) - 1))
        self.blocks = nn.ModuleList()
        for i, width in enumerate(dim):
            coarsen: nn.Module = nn.Identity()
            if i:
                fitting = dim[i - 1] // key_dim
                attention = OffsetAttention(dim[i - 1], width, fitting, key_dim, grid, 2)
                coarsen = LeViTBlock(width, attention, next(rates))
                grid = tuple(-(-side // 2) for side in grid)
            attentions = [
                OffsetAttention(width, width, heads[i], key_dim, grid) for _ in range(depth[i])
            ]
            blocks = [LeViTBlock(width, attention, next(rates)) for attention in attentions]
            self.blocks.append(PyramidStage(coarsen, blocks))
        self.norm = nn.Identity()
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix."""
        check_images(images, self.channels)
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        return Features.from_map(x.permute(0, 2, 3, 1))

    def make_head(self, num_classes: int) -> nn.Module:
        """Two heads, each a batch norm and a linear layer; no classes, no head."""
        if not num_classes:
            return nn.Identity()
        width = self.pooled_dim
        cls, dist = (
            nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, num_classes)) for _ in range(2)
        )
        return DistillationHeads(cls, dist)

    def weights_for(self, other: Backbone) -> dict[str, Tensor]:
        """The weights for `other`, this model at another image_size: tables resampled."""
        weights, grids = self.state_dict(), dict(other.named_modules())
        for name, module in self.named_modules():
            if isinstance(module, OffsetBias):
                weights[f"{name}.bias_table"] = module.table_at(grids[name].grid)
        return weights

    def init_weights(self) -> None:
        """As every model; branches begin silent, as those of Goyal et al. 2017 do."""
        super().init_weights()
        for block in self.modules():
            if isinstance(block, LeViTBlock):
                nn.init.zeros_(block.narrow.norm.weight)
                if block.attention.stride == 1:
                    nn.init.zeros_(block.attention.proj.norm.weight)


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
