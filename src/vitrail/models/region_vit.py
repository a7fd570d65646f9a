"""RegionViT: "RegionViT: Regional-to-Local Attention for Vision Transformers" (Chen et al. 2021,
https://arxiv.org/abs/2106.02689).

    image (B, C, H, W)
      ├ 3 convolutions ─ local tokens, map (B, H/4, W/4, D)
      └ patches of 28 × 28 ─ regional tokens (B, H/28, W/28, D), one per 7 × 7 local ones
          └ stage 1: depth × RegionBlock
              └ stages 2 to 4: norm, convolution of both maps ─ (B, H/8, W/8, 2D) ─ blocks, ...
                  └ norm ─ mean over regional tokens ─ (B, 8D) ─ head ─ (B, classes)

Differs from ViT: patches have two sizes. In a block the regional tokens first attend to each other,
then each with the local tokens of its region, by the same layer, so that information from the whole
image reaches the local tokens. The regional map is carried in `Features.extras`.

Where regions do not fit the image, or the map of a later stage, it is padded with zeros at the
bottom and on the right, and the padding is masked in attention. vit-pytorch's file of this name
fails there, for images of three regions already. It also has 4 heads of 32 channels at every width,
where the paper has width / 32 heads.
"""

import itertools
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import DepthwiseConv, StridedConvNorm
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, check_images, patch_grid
from vitrail.layers.pyramid import check_stages
from vitrail.layers.relative_position import RelativeBias
from vitrail.layers.window import pad_to, partition, unpartition
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidBackbone, PyramidStage
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class RegionBias(RelativeBias):
    """Relative position bias among the local tokens of a region, decayed as the authors do.

    Args:
        window: sides of a region, in local tokens.
        heads: number of attention heads.

    Example:
        >>> RegionBias((2, 2), heads=3)().shape
        torch.Size([3, 5, 5])
    """

    undecayed: tuple[str, ...] = ()

    def forward(self) -> Tensor:
        """Returns the bias (H, 1 + n, 1 + n); the regional token, the first, has none."""
        return F.pad(super().forward(), (1, 0, 1, 0))


class RegionBlock(nn.Module):
    """Regional-to-local attention: among regional tokens, then within each region; and an MLP.

    Args:
        heads: number of attention heads.
        window: side of a region, in local tokens.
        block: the second attention and the MLP; its mixer computes the first attention too.
        norm_eps: epsilon of the LayerNorm before the first attention.

    Example:
        >>> block = RegionBlock(2, 2, Block(8, Attention(8, 2), Mlp(8, 16)), 1e-6)
        >>> block(torch.zeros(6, 1 + 4, 8), 3, None).shape
        torch.Size([6, 5, 8])
    """

    def __init__(self, heads: int, window: int, block: Block, norm_eps: float) -> None:
        super().__init__()
        self.block = block
        self.norm = nn.LayerNorm(block.norm1.normalized_shape, eps=norm_eps)
        self.bias = RegionBias((window, window), heads)

    def forward(self, x: Tensor, regions: int, mask: Tensor | None) -> Tensor:
        """x (B · regions, 1 + n, D), regional token first, number of regions → the same shape.

        The mask (B · regions, 1, 1, 1 + n) is added to the logits of the second attention.
        """
        regional, block = x[:, 0].unflatten(0, (-1, regions)), self.block
        regional = regional + block.drop_path(block.mixer(self.norm(regional)))
        x = torch.cat([regional.flatten(0, 1)[:, None], x[:, 1:]], dim=1)
        bias = self.bias()
        return block(x, None, bias if mask is None else bias + mask)


class RegionStage(PyramidStage):
    """A stage of local tokens and regional tokens, `window` × `window` to one.

    Args:
        downsample: module from (B, H, W, C) to (B, H', W', D), for both maps.
        blocks: modules called as `RegionBlock`.
        window: side of a region, in local tokens.

    Example:
        >>> block = RegionBlock(2, 2, Block(8, Attention(8, 2), Mlp(8, 16)), 1e-6)
        >>> local, regional = torch.zeros(1, 4, 6, 8), torch.zeros(1, 2, 3, 8)
        >>> features = Features.from_map(local)._replace(extras=(regional,))
        >>> RegionStage(nn.Identity(), [block], 2)(features).extras[0].shape
        torch.Size([1, 2, 3, 8])
    """

    def __init__(self, downsample: nn.Module, blocks: list[nn.Module], window: int) -> None:
        super().__init__(downsample, blocks)
        self.window = window

    def forward(self, features: Features) -> Features:
        """Features on a grid, regional map in `extras` → Features on this stage's."""
        x, regional = self.downsample(features.to_map()), self.downsample(features.extras[0])
        height, width = x.shape[1:3]
        rows, columns = regional.shape[1:3]
        window, size = (self.window,) * 2, (rows * self.window, columns * self.window)
        mask = None
        if size != (height, width):
            inside = partition(pad_to(x.new_ones(1, height, width, 1), size), window)
            mask = F.pad(inside.transpose(1, 2), (1, 0), value=1.0).log()[:, None]  # 0 or −∞
            mask = mask.repeat(x.shape[0], 1, 1, 1)
        local = partition(pad_to(x, size), window)
        tokens = torch.cat([regional.flatten(0, 2)[:, None], local], dim=1)
        for block in self.blocks:
            tokens = block(tokens, rows * columns, mask)
        x = unpartition(tokens[:, 1:], window, size)[:, :height, :width]
        regional = tokens[:, 0].unflatten(0, (-1, rows, columns))
        return Features.from_map(x)._replace(extras=(regional,))


class RegionViT(PyramidBackbone):
    """RegionViT (Chen et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Any size works that patches
            divide.
        patch_size: side of a local token, in pixels.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per stage, each a multiple of the one before.
        depth: number of blocks, per stage.
        heads: number of attention heads, per stage.
        window: side of a region, in local tokens.
        stem: embedding of local tokens: "3conv", three convolutions for patches of 4 pixels;
            "1conv", one convolution of twice the patch.
        mlp_ratio: hidden width of an MLP divided by the width of its stage.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded local tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = RegionViT(16, 4, num_classes=5, dim=(8, 16), depth=(1, 1), heads=(2, 2),
        ...     window=2)
        >>> model(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "RegionViT: Regional-to-Local Attention for Vision Transformers",
        "Chen et al.",
        2021,
        "https://arxiv.org/abs/2106.02689",
        change="Tokens of regions attend globally, then locally with their patches.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: PositiveInt,
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        window: PositiveInt = 7,
        stem: Literal["3conv", "1conv"] = "3conv",
        mlp_ratio: PositiveFloat = 4.0,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads)
        if stem == "3conv" and patch_size != 4:
            raise ConfigError(
                f'patch_size={patch_size} with stem="3conv" has to be 4: or set stem="1conv".'
            )
        self.patch = (patch_size, patch_size)
        self.dim, self.grid = dim, patch_grid(self.image_size, self.patch)
        self.strides = tuple(patch_size * 2**i for i in range(len(depth)))

        layers: list[nn.Module] = []
        if stem == "3conv":
            widths = (channels, dim[0] // 4, dim[0] // 2)
            for pair in itertools.pairwise(widths):
                layers += [StridedConvNorm(*pair, 3, 2, norm_eps=norm_eps), nn.GELU()]
            self.patch_embed = nn.Conv2d(widths[-1], dim[0], 3, padding=1)
        else:
            kernel, padding = 2 * patch_size, patch_size - 1
            self.patch_embed = nn.Conv2d(channels, dim[0], kernel, patch_size, padding)
        self.stem = nn.Sequential(*layers)
        region = (patch_size * window, patch_size * window)
        self.region_embed = PatchEmbed(region, channels, dim[0], init="torch")
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages = []
        for i, width in enumerate(dim):
            downsample: list[nn.Module] = []
            if i:  # of both maps
                conv = DepthwiseConv(dim[i - 1], stride=2, dim_out=width)
                downsample = [nn.LayerNorm(dim[i - 1], eps=norm_eps), nn.GELU(), conv]
            blocks: list[nn.Module] = []
            for _ in range(depth[i]):
                attention = Attention(width, heads[i], dropout=dropout)
                mlp = Mlp(width, int(mlp_ratio * width), dropout)
                block = Block(width, attention, mlp, drop_path=next(rates), norm_eps=norm_eps)
                blocks.append(RegionBlock(heads[i], window, block, norm_eps))
            stages.append(RegionStage(nn.Sequential(*downsample), blocks, window))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → local tokens (B, N, D), no prefix; the regional map in `extras`."""
        check_images(images, self.channels)
        patch_grid(tuple(images.shape[2:]), self.patch)
        x = self.stem(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.emb_dropout(self.patch_embed(x).permute(0, 2, 3, 1))
        padded = pad_to(images.permute(0, 2, 3, 1), self.region_embed.patch).permute(0, 3, 1, 2)
        regional, grid = self.region_embed(padded)
        return Features.from_map(x)._replace(extras=(regional.unflatten(1, grid),))

    def encode(self, features: Features) -> Features:
        """Features on the finest grid → normalized Features on the coarsest."""
        features = super().encode(features)
        return features._replace(extras=(self.norm(features.extras[0]),))

    def pool(self, features: Features) -> Tensor:
        """Features → the mean of the regional tokens (B, D)."""
        return features.extras[0].mean(dim=(1, 2))


def _variant(parameters: int, dim: int, depth: int, stem: str, window: int = 7) -> Variant:
    widths = tuple(dim * 2**i for i in range(4))
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 4, "num_classes": 1000, "window": window, "stem": stem,
        "dim": widths, "depth": (2, 2, depth, 2), "heads": tuple(width // 32 for width in widths),
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "regionvit_tiny_224": _variant(13_842_676, 64, 8, "3conv"),
    "regionvit_small_224": _variant(30_586_618, 96, 8, "3conv"),
    "regionvit_small_w14_224": _variant(31_354_714, 96, 8, "3conv", 14),
    "regionvit_medium_224": _variant(41_215_906, 96, 14, "1conv"),
    "regionvit_base_224": _variant(72_747_232, 128, 14, "1conv"),
    "regionvit_base_w14_224": _variant(73_825_120, 128, 14, "1conv", 14),
}
