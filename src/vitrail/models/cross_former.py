"""CrossFormer: "CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention"
(Wang et al. 2021, https://arxiv.org/abs/2108.00154).

    image (B, C, H, W)
      └ CrossScaleEmbed: patches of 4, 8, 16 and 32 pixels ─ norm ─ map (B, H/4, W/4, D)
          └ stage 1: depth × Block(WindowAttention, Mlp), of near and of far places in turn
              └ stages 2 to 4: norm ─ CrossScaleEmbed of 2 and 4 places ─ (B, H/8, W/8, 2D) ─ blocks
                  └ norm ─ mean over places ─ (B, 8D) ─ head ─ (B, classes)

Differs from ViT: a token is made of patches of several sizes around one place, the larger the fewer
channels. Tokens attend within groups, by turns of 7 × 7 neighbours and of 7 × 7 places spread
evenly over the map. The bias of an offset is not learned but computed from the offset, by an MLP.

The MLP is as narrow as in the authors' code, which has the published parameters, D / 16; the paper
says D / 4. Its last layer has no bias, which a softmax would take away again: one number a head and
block is absent. A map that groups do not divide is padded with zeros, where the authors refuse it.
vit-pytorch's file of this name takes the paper's intervals between distant places for the size of
their groups, so that its last stage attends to nothing, and gives the MLP wrong offsets.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images, patch_grid, to_tuple
from vitrail.layers.relative_position import relative_index
from vitrail.layers.window import Window, WindowAttention, pad_to
from vitrail.models.base import Features, PyramidBackbone, PyramidStage, Variant
from vitrail.models.paper import Paper


class CrossScaleEmbed(nn.Module):
    """Tokens of patches of several sizes around one place, side by side in one vector.

    Half of the channels are for the smallest kernel, a quarter for the next, and so on; the largest
    gets as many as the one before it.
    """

    def __init__(self, dim_in: int, dim: int, kernels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        self.stride = (stride, stride)
        shares = [dim // 2 ** (i + 1) for i in range(len(kernels) - 1)]
        self.convs = nn.ModuleList(
            nn.Conv2d(dim_in, share, kernel, stride, (kernel - stride) // 2)
            for share, kernel in zip([*shares, dim - sum(shares)], kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / stride, W / stride, D), rounded up."""
        x = pad_to(x, self.stride).permute(0, 3, 1, 2)
        return torch.cat([conv(x).permute(0, 2, 3, 1) for conv in self.convs], dim=-1)


class DynamicBias(nn.Module):
    """A bias for each head and each offset within a group, by an MLP of the offset."""

    def __init__(self, window: Window, heads: int, hidden_dim: int, norm_eps: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for dim_in in (2, hidden_dim, hidden_dim):
            norm = nn.LayerNorm(hidden_dim, eps=norm_eps)
            layers += [nn.Linear(dim_in, hidden_dim), norm, nn.ReLU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden_dim, heads, bias=False))
        offsets = torch.cartesian_prod(*(torch.arange(1.0 - side, side) for side in window))
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("index", relative_index(window), persistent=False)
        self.offsets: Tensor
        self.index: Tensor

    def forward(self) -> Tensor:
        """The bias (H, n, n) for n places of the group, row by row."""
        n = len(self.index)
        return self.mlp(self.offsets)[self.index.flatten()].unflatten(0, (n, n)).permute(2, 0, 1)


class CrossFormer(PyramidBackbone):
    """A CrossFormer. Keywords as those of `Swin`, but:

    Args:
        patch_size: all of those around one place, in pixels; the smallest is the stride.
        merge_size: the same of the later stages, in places of the stage before; the stride is 2.
        window: of near and of far places alike.
    """

    paper = Paper(
        "CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention",
        "Wang et al.",
        2021,
        "https://arxiv.org/abs/2108.00154",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: tuple[int, ...],
        num_classes: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        window: int = 7,
        merge_size: tuple[int, ...] = (2, 4),
        mlp_ratio: float = 4.0,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.patch = to_tuple(patch_size[0])
        self.dim, self.grid = tuple(dim), patch_grid(self.image_size, self.patch)
        self.strides = tuple(patch_size[0] * 2**i for i in range(len(depth)))

        self.patch_embed = CrossScaleEmbed(channels, dim[0], patch_size, patch_size[0])
        self.embed_norm = nn.LayerNorm(dim[0], eps=norm_eps)
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))

        def block(stage: int, fitted: Window, spread: bool) -> Block:
            width, count = dim[stage], heads[stage]
            bias = DynamicBias(fitted, count, width // 16, norm_eps)
            attention = Attention(width, count, dropout=dropout)
            mixer = WindowAttention(attention, fitted, spread=spread, bias=bias)
            mlp = Mlp(width, int(mlp_ratio * width), dropout)
            return Block(width, mixer, mlp, drop_path=next(rates), norm_eps=norm_eps)

        stages = []
        for i, width in enumerate(dim):
            first: list[nn.Module] = []
            if i:
                norm = nn.LayerNorm(dim[i - 1], eps=norm_eps)
                first = [norm, CrossScaleEmbed(dim[i - 1], width, merge_size, 2)]
            fitted = tuple(min(window, -(-side // 2**i)) for side in self.grid)
            blocks = [block(i, fitted, spread=j % 2 == 1) for j in range(depth[i])]
            stages.append(PyramidStage(nn.Sequential(*first), blocks))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix."""
        check_images(images, self.channels)
        patch_grid(tuple(images.shape[2:]), self.patch)
        x = self.patch_embed(images.permute(0, 2, 3, 1))
        return Features.from_map(self.emb_dropout(self.embed_norm(x)))


def _variant(parameters: int, dim: int, depth: tuple[int, ...]) -> Variant:
    dims = tuple(dim * 2**i for i in range(4))
    heads = tuple(width // 32 for width in dims)
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": (4, 8, 16, 32), "num_classes": 1000,
        "dim": dims, "depth": depth, "heads": heads,
    }  # fmt: skip
    absent = sum(count * blocks for count, blocks in zip(heads, depth, strict=True))
    return Variant(keywords, parameters, absent)


VARIANTS = {
    "crossformer_tiny": _variant(27_776_794, 64, (1, 1, 8, 6)),
    "crossformer_small": _variant(30_657_394, 96, (2, 2, 6, 2)),
    "crossformer_base": _variant(51_971_554, 96, (2, 2, 18, 2)),
    "crossformer_large": _variant(91_971_184, 128, (2, 2, 18, 2)),
}
