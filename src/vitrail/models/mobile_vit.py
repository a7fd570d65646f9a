"""MobileViT: "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer"
(Mehta & Rastegari 2021, https://arxiv.org/abs/2110.02178).

    image (B, C, H, W)
      └ stem, a convolution ─ map (B, H/2, W/2, D)
          └ stages 1 and 2: inverted residuals, convolutions only ─ (B, H/4, W/4, D2)
              └ stages 3 to 5: an inverted residual of stride 2, then a MobileViTBlock:
                │  3×3 and 1×1 convolution ─ unfold: (4 B, N/4, T) ─ depth × Block(Attention, Mlp)
                │  ─ fold ─ 1×1 convolution ─ concatenate with the input ─ 3×3 convolution
                └ 1×1 convolution to out_dim ─ mean over positions ─ head ─ (B, classes)

Differs from ViT: transformers stand inside a convolutional network and replace what a convolution
does, unfold, multiply, fold. After unfolding, the cells with the same offset in their patch of
2 × 2 form a sequence; the 3 × 3 convolutions connect the cells of a patch. There are no positional
encodings. A map that patches do not divide is stretched for the transformer and back, as the
authors do.
"""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block
from vitrail.layers.conv import ConvNorm, LinearNorm, channels_last
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images, to_tuple
from vitrail.layers.pyramid import check_stages
from vitrail.layers.window import partition, unpartition
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidBackbone
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class InvertedResidual(nn.Sequential):
    """Inverted residual of MobileNetV2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381).

    A 1×1 convolution widens, a depthwise one filters, a 1×1 one narrows. The input is added where
    the shape stays.

    Args:
        dim_in: number of input channels.
        dim: number of output channels.
        stride: stride of the depthwise convolution.
        expand: hidden width divided by `dim_in`.

    Example:
        >>> InvertedResidual(4, 8, 2, expand=2.0)(torch.zeros(2, 4, 6, 6)).shape
        torch.Size([2, 8, 3, 3])
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
    """MobileViT block: local by convolutions, global by a transformer on unfolded patches.

    Args:
        dim: number of channels of the map.
        token_dim: width of the transformer's tokens.
        depth: number of transformer blocks.
        heads: number of attention heads.
        patch: sides (rows, columns) of a patch, in positions of the map.
        dropout: dropout rate of attention weights, projections and MLPs.

    Example:
        >>> block = MobileViTBlock(4, 8, depth=1, heads=2, patch=(2, 2), dropout=0.0)
        >>> block(torch.zeros(2, 4, 5, 6)).shape
        torch.Size([2, 4, 5, 6])
    """

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
        self.merge = ConvNorm(2 * dim, dim, 3, activation=nn.SiLU(inplace=True))

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
        return self.merge(torch.cat([x, self.project(y)], dim=1))


class ConvStage(nn.Sequential):
    """A stage of modules on maps with channels first, (B, D, H, W).

    Args:
        modules: modules from a map to a map.

    Example:
        >>> stage = ConvStage(nn.Conv2d(4, 8, 1))
        >>> stage(Features.from_map(torch.zeros(1, 2, 3, 4))).patches.shape
        torch.Size([1, 6, 8])
    """

    def forward(self, features: Features) -> Features:
        """Features on a grid → Features on this stage's."""
        x = super().forward(features.to_map(channels_first=True))
        return Features.from_map(x.permute(0, 2, 3, 1))


class MobileViT(PyramidBackbone):
    """MobileViT, version 1 (Mehta & Rastegari 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Any size works.
        patch_size: sides (rows, columns) of the transformers' patches in positions of their map, or
            one number for both.
        num_classes: width of the logits; 0 for no head.
        stem_dim: width of the stem.
        dim: width of each of the five stages.
        token_dim: width of the transformers' tokens in the last three stages.
        out_dim: width of the head's input.
        depth: number of inverted residuals of stages 1 and 2, and of transformer blocks of stages 3
            to 5.
        heads: number of attention heads.
        expand: hidden width of an inverted residual divided by the width of its input.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.

    Example:
        >>> model = MobileViT(32, 2, num_classes=5, stem_dim=4, dim=(4, 4, 8, 8, 8),
        ...     token_dim=(8, 8, 8), out_dim=16, depth=(1, 1, 1, 1, 1))
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer",
        "Mehta & Rastegari",
        2021,
        "https://arxiv.org/abs/2110.02178",
        change="A small transformer inside a mobile convolutional network.",
    )
    after_blocks = ("last", "head")

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        stem_dim: PositiveInt,
        dim: tuple[PositiveInt, ...],
        token_dim: tuple[PositiveInt, ...],
        out_dim: PositiveInt,
        depth: tuple[PositiveInt, ...] = (1, 3, 2, 4, 3),
        heads: PositiveInt = 4,
        expand: PositiveFloat = 4.0,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth)
        if len(dim) - len(token_dim) != 2:
            raise ConfigError(
                f"token_dim={token_dim} is not one width per stage from the third of {len(dim)}."
            )
        self.dim, self.out_dim = dim, out_dim
        self.grid = tuple(-(-side // 2) for side in self.image_size)
        self.strides = tuple(2 ** (i + 1) for i in range(len(dim)))

        self.stem = ConvNorm(channels, stem_dim, 3, 2, activation=nn.SiLU(inplace=True))
        patch = to_tuple(patch_size)
        self.blocks = nn.ModuleList()
        for i, (dim_in, width) in enumerate(itertools.pairwise((stem_dim, *dim))):
            stage = ConvStage(InvertedResidual(dim_in, width, 2 if i else 1, expand))
            if i < 2:
                stage.extend(InvertedResidual(width, width, 1, expand) for _ in range(depth[i] - 1))
            else:
                stage.append(
                    MobileViTBlock(width, token_dim[i - 2], depth[i], heads, patch, dropout)
                )
            self.blocks.append(stage)
        self.norm = nn.Identity()
        self.last = LinearNorm(dim[-1], out_dim, activation=nn.SiLU())
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, H/2 · W/2, D), no prefix."""
        check_images(images, self.channels)
        x = self.stem(channels_last(images))
        return Features.from_map(x.permute(0, 2, 3, 1))

    def pool(self, features: Features) -> Tensor:
        """Features → the mean of the positions (B, out_dim), after a 1×1 convolution."""
        return self.last(features.patches).mean(dim=1)

    @property
    def pooled_dim(self) -> int:
        """The width of the last 1×1 convolution."""
        return self.out_dim

    def block_modules(self) -> list[list[nn.Module]]:
        """The modules of each layer: one per inverted residual and one per transformer block.

        The convolutions before the transformer of a MobileViTBlock belong to the layer before it,
        those after it to its last block.
        """
        layers: list[list[nn.Module]] = []
        for module in (module for stage in self.blocks for module in stage.children()):
            if isinstance(module, MobileViTBlock):
                layers[-1] += [module.local, module.widen]
                layers += [[block] for block in module.blocks]
                layers[-1] += [module.norm, module.project, module.merge]
            else:
                layers.append([module])
        return layers

    def init_weights(self) -> None:
        """Initializes every parameter as the authors' code does.

        Convolutions start from He's normal distribution by fan-out, linear layers from std 0.02.
        """
        super().init_weights()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.kaiming_normal_(self.last.linear.weight, mode="fan_out")  # a 1×1 convolution


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
