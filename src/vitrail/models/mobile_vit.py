"""MobileViT: "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer"
(Mehta & Rastegari 2021, https://arxiv.org/abs/2110.02178).

    image (B, C, H, W)
      └ stem, a convolution ─ map (B, H/2, W/2, D)
          └ stages 1 and 2: inverted residuals, convolutions only ─ (B, H/4, W/4, D2)
              └ stages 3 to 5: an inverted residual of stride 2, then a MobileViT block:
                │  3×3 and 1×1 convolution ─ unfold: (4 B, N/4, T) ─ depth × Block(Attention, Mlp)
                │  ─ fold ─ 1×1 convolution ─ [beside what came in] ─ 3×3 convolution
                └ 1×1 convolution to out_dim ─ mean over places ─ head ─ (B, classes)

Differs from ViT: transformers stand inside a convolutional network and replace what a convolution
does, unfold, multiply, fold. Unfolded, places with the same offset in their patch of 2 × 2 form a
sequence of their own: they see each other's patch through the 3 × 3 convolutions. No positions.
A map that patches do not divide is stretched for the transformer and back, as the authors do.
"""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block
from vitrail.layers.conv import ConvNorm, LinearNorm
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images, to_tuple
from vitrail.layers.window import partition, unpartition
from vitrail.models.base import Features, PyramidBackbone, Variant
from vitrail.models.paper import Paper


class InvertedResidual(nn.Sequential):
    """Widen, filter each channel, narrow (MobileNetV2, Sandler et al. 2018,
    https://arxiv.org/abs/1801.04381). On maps (B, C, H, W); a shortcut where the shape stays.
    """

    def __init__(self, dim_in: int, dim: int, stride: int, expand: float) -> None:
        hidden = int(expand * dim_in)
        super().__init__(
            ConvNorm(dim_in, hidden, 1, activation=nn.SiLU(inplace=True)),
            ConvNorm(hidden, hidden, 3, stride, groups=hidden, activation=nn.SiLU(inplace=True)),
            ConvNorm(hidden, dim, 1),
        )
        self.shortcut = stride == 1 and dim_in == dim

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) → (B, D, H / stride, W / stride)."""
        return x + super().forward(x) if self.shortcut else super().forward(x)


class MobileViTBlock(nn.Module):
    """Local by convolutions, global by a transformer over places of equal offset in their patch."""

    def __init__(
        self,
        dim: int,
        token_dim: int,
        depth: int,
        heads: int,
        patch: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.local = ConvNorm(dim, dim, 3, activation=nn.SiLU(inplace=True))
        self.widen = nn.Conv2d(dim, token_dim, 1, bias=False)
        self.blocks = nn.Sequential(
            *(
                Block(
                    token_dim,
                    Attention(token_dim, heads, dropout=dropout),
                    Mlp(token_dim, 2 * token_dim, dropout, activation=nn.SiLU()),
                    norm_eps=1e-5,
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(token_dim, eps=1e-5)
        self.project = ConvNorm(token_dim, dim, 1, activation=nn.SiLU(inplace=True))
        self.fuse = ConvNorm(2 * dim, dim, 3, activation=nn.SiLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, D, H, W) → (B, D, H, W)."""
        y = self.widen(self.local(x))
        size = tuple(y.shape[2:])
        count = tuple(-(-side // p) for side, p in zip(size, self.patch, strict=True))
        whole = tuple(c * p for c, p in zip(count, self.patch, strict=True))
        if whole != size:
            y = F.interpolate(y, whole, mode="bilinear")
        tokens = partition(y.permute(0, 2, 3, 1), count, spread=True)
        tokens = self.norm(self.blocks(tokens))
        y = unpartition(tokens, count, whole, spread=True).permute(0, 3, 1, 2)
        if whole != size:
            y = F.interpolate(y, size, mode="bilinear")
        return self.fuse(torch.cat([x, self.project(y)], dim=1))


class ConvStage(nn.Sequential):
    """A stage of modules that see maps with channels first, (B, D, H, W)."""

    def forward(self, features: Features) -> Features:
        """Features on a grid → Features on this stage's."""
        return Features.from_map(
            super().forward(features.to_map(channels_first=True)).permute(0, 2, 3, 1)
        )


class MobileViT(PyramidBackbone):
    """A MobileViT, version 1.

    Args:
        stem_dim: width of the stem. dim: width of each of five stages. token_dim: width of the
            transformers in the last three; out_dim: of what the head reads.
        depth: inverted residuals of stages 1 and 2, blocks of the transformers of stages 3 to 5.
        heads, dropout: of the transformers. patch_size: of their patches, in places.
        expand: hidden width of an inverted residual over the width of what it is given.
        The rest as in `ViT`. Images of any size.
    """

    paper = Paper(
        "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer",
        "Mehta & Rastegari",
        2021,
        "https://arxiv.org/abs/2110.02178",
    )

    late = ("last", "head")

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int | tuple[int, int],
        num_classes: int,
        stem_dim: int,
        dim: tuple[int, ...],
        token_dim: tuple[int, ...],
        out_dim: int,
        depth: tuple[int, ...] = (1, 3, 2, 4, 3),
        heads: int = 4,
        expand: float = 4.0,
        channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.dim, self.out_dim = tuple(dim), out_dim
        self.grid = tuple(-(-side // 2) for side in self.image_size)
        self.strides = tuple(2 ** (i + 1) for i in range(len(dim)))

        self.stem = ConvNorm(channels, stem_dim, 3, 2, activation=nn.SiLU(inplace=True))
        transformer = (heads, to_tuple(patch_size), dropout)
        self.blocks = nn.ModuleList()
        for i, (before, width) in enumerate(itertools.pairwise((stem_dim, *dim))):
            stage = ConvStage(InvertedResidual(before, width, 2 if i else 1, expand))
            if i < 2:
                stage.extend(InvertedResidual(width, width, 1, expand) for _ in range(depth[i] - 1))
            else:
                stage.append(MobileViTBlock(width, token_dim[i - 2], depth[i], *transformer))
            self.blocks.append(stage)
        self.norm = nn.Identity()
        self.last = LinearNorm(dim[-1], out_dim, activation=nn.SiLU())
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, H/2 · W/2, D), no prefix."""
        check_images(images, self.channels)
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        return Features.from_map(x.permute(0, 2, 3, 1))

    def pool(self, features: Features) -> Tensor:
        """Features → the mean of the places (B, out_dim), after a 1×1 convolution."""
        return self.last(features.patches).mean(dim=1)

    @property
    def pooled_dim(self) -> int:
        """Width of the last 1×1 convolution."""
        return self.out_dim


def _variant(
    parameters: int, dim: tuple[int, ...], token_dim: tuple[int, ...], out_dim: int, expand: int = 4
) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": 256, "patch_size": 2, "num_classes": 1000, "stem_dim": 16,
        "dim": dim, "token_dim": token_dim, "out_dim": out_dim, "expand": expand,
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "mobilevit_xxs": _variant(1_272_024, (16, 24, 48, 64, 80), (64, 80, 96), 320, 2),
    "mobilevit_xs": _variant(2_317_848, (32, 48, 64, 80, 96), (96, 120, 144), 384),
    "mobilevit_s": _variant(5_578_632, (32, 64, 96, 128, 160), (144, 192, 240), 640),
}
