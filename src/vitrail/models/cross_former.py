"""CrossFormer: "CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention"
(Wang et al. 2021, https://arxiv.org/abs/2108.00154).

    image (B, C, H, W)
      └ CrossScaleEmbed: patches of 4, 8, 16 and 32 pixels ─ norm ─ map (B, H/4, W/4, D)
          └ stage 1: depth × Block(WindowAttention, Mlp), short and long distance in turn
              └ stages 2 to 4: norm ─ CrossScaleEmbed of 2 and 4 cells ─ (B, H/8, W/8, 2D) ─ ...
                  └ norm ─ mean over positions ─ (B, 8D) ─ head ─ (B, classes)

Differs from ViT in three points. A token is made of patches of several sizes around one position;
the larger the patch, the fewer channels it gets. Tokens attend within groups: in turn groups of
7 × 7 adjacent positions and groups of 7 × 7 positions at a constant interval over the whole map.
The relative position bias is not learned but computed from the offset by an MLP.

The MLP is as narrow as in the authors' code, which has the published parameters, D / 16; the paper
says D / 4. Its last bias changes no output, because a softmax takes it away, but it is counted. A
map that groups do not divide is padded with zeros, where the authors refuse it. vit-pytorch's file
of this name takes the paper's intervals of the long distance for the size of its groups, so that
its last stage attends to nothing, and gives the MLP wrong offsets.
"""

import functools
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.computed import register_computed
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images, patch_grid, to_tuple
from vitrail.layers.pyramid import check_stages
from vitrail.layers.relative_position import relative_index
from vitrail.layers.window import Window, WindowAttention, pad_to
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidBackbone, PyramidStage
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class CrossScaleEmbed(nn.Module):
    """Cross-scale embedding: patches of several sizes around one position, concatenated.

    Half of the channels belong to the smallest kernel, a quarter to the next, and so on; the
    largest kernel has as many as the one before it.

    Args:
        dim_in: number of input channels.
        dim: number of output channels, of all kernels together.
        kernels: sides of the patches, ascending, each `stride` plus an even number.
        stride: distance between positions.

    Raises:
        ConfigError: the patches do not lie around one position, or are too many for `dim`.

    Example:
        >>> CrossScaleEmbed(3, 8, (2, 4), 2)(torch.zeros(1, 6, 4, 3)).shape
        torch.Size([1, 3, 2, 8])
    """

    def __init__(self, dim_in: int, dim: int, kernels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        centered = all(side >= stride and (side - stride) % 2 == 0 for side in kernels)
        if not centered or not 0 < len(kernels) <= dim.bit_length():
            raise ConfigError(
                f"patches of sides {kernels} do not lie around one position with dim={dim}: give "
                f"sides of {stride} plus even numbers, {dim.bit_length()} at most."
            )
        self.stride = (stride, stride)
        widths = [dim // 2 ** (i + 1) for i in range(len(kernels) - 1)]
        self.convs = nn.ModuleList(
            nn.Conv2d(dim_in, width, kernel, stride, (kernel - stride) // 2)
            for width, kernel in zip([*widths, dim - sum(widths)], kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / stride, W / stride, D), rounded up."""
        x = pad_to(x, self.stride).permute(0, 3, 1, 2)
        return torch.cat([conv(x).permute(0, 2, 3, 1) for conv in self.convs], dim=-1)


class DynamicBias(nn.Module):
    """Dynamic position bias: a bias per head and offset within a group, by an MLP of the offset.

    Args:
        window: sides of a group.
        heads: number of attention heads.
        hidden_dim: width of the MLP.
        norm_eps: epsilon of the LayerNorms in the MLP.

    Example:
        >>> DynamicBias((2, 3), heads=4, hidden_dim=8, norm_eps=1e-5)().shape
        torch.Size([4, 6, 6])
    """

    def __init__(self, window: Window, heads: int, hidden_dim: int, norm_eps: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for dim_in in (2, hidden_dim, hidden_dim):
            norm = nn.LayerNorm(hidden_dim, eps=norm_eps)
            layers += [nn.Linear(dim_in, hidden_dim), norm, nn.ReLU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden_dim, heads))
        register_computed(self, "offsets", functools.partial(_offsets, window))
        register_computed(self, "index", functools.partial(relative_index, window))
        self.offsets: Tensor
        self.index: Tensor

    def forward(self) -> Tensor:
        """Returns the bias (H, n, n) for the n positions of a group, row by row."""
        n = len(self.index)
        return self.mlp(self.offsets)[self.index.flatten()].unflatten(0, (n, n)).permute(2, 0, 1)


def _offsets(window: Window) -> Tensor:
    """window (h, w) → all offsets within it, (offsets, 2)."""
    return torch.cartesian_prod(*(torch.arange(1.0 - side, side) for side in window))


class CrossFormer(PyramidBackbone):
    """CrossFormer (Wang et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Any size works that the smallest
            patch divides.
        patch_size: sides of the patches around one position, in pixels, ascending; the smallest is
            the stride.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per stage.
        depth: number of blocks, per stage.
        heads: number of attention heads, per stage.
        window: side of a group, of short and long distance alike; a stage whose grid, at
            `image_size`, is smaller has groups as large as that grid.
        merge_size: sides of the patches of stages 2 and on, in positions of the stage before; the
            stride is 2.
        mlp_ratio: hidden width of an MLP divided by the width of its stage.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.
        reference_size: image size whose grids groups are fitted to; None for `image_size`.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = CrossFormer(16, (2, 4), num_classes=5, dim=(16, 32), depth=(1, 2), heads=(2, 2))
        >>> model(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention",
        "Wang et al.",
        2021,
        "https://arxiv.org/abs/2108.00154",
        change="Patches of several sizes; near and far attention alternate.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: tuple[PositiveInt, ...],
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        window: PositiveInt = 7,
        merge_size: tuple[PositiveInt, ...] = (2, 4),
        mlp_ratio: PositiveFloat = 4.0,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-5,
        reference_size: Size | None = None,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads)
        if not patch_size:
            raise ConfigError("patch_size=() has no side: give those of the patches, as (4, 8).")
        self.patch = to_tuple(patch_size[0])
        self.dim, self.grid = dim, patch_grid(self.image_size, self.patch)
        reference_grid = patch_grid(to_tuple(reference_size or self.image_size), self.patch)
        self.strides = tuple(patch_size[0] * 2**i for i in range(len(depth)))

        self.patch_embed = CrossScaleEmbed(channels, dim[0], patch_size, patch_size[0])
        self.embed_norm = nn.LayerNorm(dim[0], eps=norm_eps)
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))

        def make_block(stage: int, group: Window, spread: bool) -> Block:
            width, head_count = dim[stage], heads[stage]
            bias = DynamicBias(group, head_count, max(width // 16, 1), norm_eps)
            attention = Attention(width, head_count, dropout=dropout)
            mixer = WindowAttention(attention, group, spread=spread, bias=bias)
            mlp = Mlp(width, int(mlp_ratio * width), dropout)
            return Block(width, mixer, mlp, drop_path=next(rates), norm_eps=norm_eps)

        stages = []
        for i, width in enumerate(dim):
            downsample: list[nn.Module] = []
            if i:
                norm = nn.LayerNorm(dim[i - 1], eps=norm_eps)
                downsample = [norm, CrossScaleEmbed(dim[i - 1], width, merge_size, 2)]
            group = tuple(min(window, -(-side // 2**i)) for side in reference_grid)
            blocks = [make_block(i, group, spread=j % 2 == 1) for j in range(depth[i])]
            stages.append(PyramidStage(nn.Sequential(*downsample), blocks))
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
    widths = tuple(dim * 2**i for i in range(4))
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": (4, 8, 16, 32), "num_classes": 1000,
        "dim": widths, "depth": depth, "heads": tuple(width // 32 for width in widths),
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "crossformer_tiny": _variant(27_776_794, 64, (1, 1, 8, 6)),
    "crossformer_small": _variant(30_657_394, 96, (2, 2, 6, 2)),
    "crossformer_base": _variant(51_971_554, 96, (2, 2, 18, 2)),
    "crossformer_large": _variant(91_971_184, 128, (2, 2, 18, 2)),
}
