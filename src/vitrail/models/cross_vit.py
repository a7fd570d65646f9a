"""CrossViT: "CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification"
(Chen et al. 2021, https://arxiv.org/abs/2103.14899).

    image (B, C, H, W) ───────────── resized to 14/15
      └ patches of 12 ─ (B, N, D)      └ patches of 16 ─ (B, N', D')
          └ class token, + position        └ class token, + position
              └ 1 Block                        └ 4 Blocks                             ┐
                  └ Fusion: each class token attends to the patches of the other scale ┘ × depth
                      └ norm ─ [both class tokens] ─ (B, D + D') ─ a head each, mean ─ (B, classes)

CrossViT differs from ViT in that an image is cut into patches at two scales: small patches go
through few narrow blocks, large patches through many wide blocks. The scales exchange information
through their class tokens alone, at a cost linear in the number of patches.

Each class token has a linear head of its own, and the logits are the mean of both.

vit-pytorch's CrossViT differs from the paper: its class tokens attend to patches that are not
normalized, and add the result in their own width instead of the other scale's; each of its blocks
ends in norms; and it does not resize the image.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attention, CrossAttention
from vitrail.layers.block import Block, DropPath, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, check_images, patch_grid
from vitrail.layers.position import PositionTable
from vitrail.layers.tokens import Token
from vitrail.models.base import Backbone, Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class ConvStem(nn.Sequential):
    """CrossViT†'s patch embedding: three convolutions with overlap.

    Args:
        patch: pixels of a patch on both axes, 12 or 16.
        channels: number of channels of an image.
        dim: width of a token, a multiple of 4.

    Raises:
        ConfigError: `patch` is neither 12 nor 16.

    Example:
        >>> tokens, grid = ConvStem(12, channels=3, dim=8)(torch.zeros(1, 3, 24, 36))
        >>> tokens.shape, grid
        (torch.Size([1, 6, 8]), (2, 3))
    """

    def __init__(self, patch: int, channels: int, dim: int) -> None:
        if patch not in (12, 16):
            raise ConfigError(f"patch_size={patch} has no stem of convolutions: use 12 or 16.")
        last = ((3, 3, 0), (3, 1, 1)) if patch == 12 else ((3, 2, 1), (3, 2, 1))
        super().__init__(
            nn.Conv2d(channels, dim // 4, 7, 4, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim // 4, dim // 2, *last[0]),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim // 2, dim, *last[1]),
        )
        self.patch = (patch, patch)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """images (B, C, H, W) → tokens (B, N, D) and their grid."""
        grid = patch_grid(tuple(images.shape[2:]), self.patch)
        return super().forward(images).flatten(2).transpose(1, 2), grid


class ScaleEmbed(nn.Module):
    """The tokens of an image at one scale: resized, cut into patches, with positions.

    Args:
        patch_embed: module from images to tokens and their grid.
        image_size: pixels (height, width) of the image.
        scale: size of the resized image divided by `image_size`. Unless it is 1, the nearest size
            that patches divide is used.
        dim: width of a token.

    Example:
        >>> embed = ScaleEmbed(PatchEmbed((8, 8), 3, 16), (32, 32), scale=0.7, dim=16)
        >>> embed.grid, embed(torch.zeros(1, 3, 32, 32))[0].shape
        ((3, 3), torch.Size([1, 10, 16]))
    """

    def __init__(
        self,
        patch_embed: PatchEmbed | ConvStem,
        image_size: tuple[int, ...],
        scale: float,
        dim: int,
    ) -> None:
        super().__init__()
        self.patch, self.scale = patch_embed.patch, scale
        self.patch_embed = patch_embed
        self.grid = self.grid_of(image_size)
        self.class_token = Token(1, dim)
        self.position = PositionTable(self.grid, dim, prefix=1)

    def grid_of(self, image_size: tuple[int, ...]) -> tuple[int, ...]:
        """image_size (height, width) → number of patches per axis at this scale."""
        if self.scale == 1:
            return patch_grid(image_size, self.patch)
        sides = list(zip(image_size, self.patch, strict=True))
        if torch.jit.is_tracing():  # type: ignore[attr-defined]  # sizes are tensors there
            sides = [(int(side), p) for side, p in sides]
        return tuple(max(1, round(side * self.scale / p)) for side, p in sides)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """images (B, C, H, W) → tokens (B, 1 + N, D), class token first, and the patches' grid."""
        grid = self.grid_of(tuple(images.shape[2:]))
        size = tuple(side * p for side, p in zip(grid, self.patch, strict=True))
        if size != images.shape[2:]:
            images = F.interpolate(images, size, mode="bicubic")
        patches, _ = self.patch_embed(images)
        tokens = torch.cat([self.class_token(patches.shape[0]), patches], dim=1)
        return tokens + self.position(grid), grid


class Fusion(nn.Module):
    """The class token of one scale, in the width of the other, attends to itself and its patches.

    Args:
        dim: width of the class token.
        other_dim: width of the other scale's tokens.
        heads: number of attention heads, a divisor of `other_dim`.
        dropout: dropout rate of the attention weights and of the output.
        drop_path: rate of stochastic depth.
        norm_eps: epsilon of every LayerNorm.

    Example:
        >>> fusion = Fusion(8, 12, heads=2, dropout=0.0, drop_path=0.0, norm_eps=1e-6)
        >>> fusion(torch.zeros(1, 1, 8), torch.zeros(1, 4, 12)).shape
        torch.Size([1, 1, 8])
    """

    def __init__(
        self,
        dim: int,
        other_dim: int,
        heads: int,
        dropout: float,
        drop_path: float,
        norm_eps: float,
    ) -> None:
        super().__init__()

        def projection(c: int, d: int) -> nn.Sequential:
            return nn.Sequential(nn.LayerNorm(c, eps=norm_eps), nn.GELU(), nn.Linear(c, d))

        self.project_in, self.project_out = projection(dim, other_dim), projection(other_dim, dim)
        self.norm = nn.LayerNorm(other_dim, eps=norm_eps)
        self.mixer = CrossAttention(other_dim, heads, dropout=dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, token: Tensor, patches: Tensor) -> Tensor:
        """token (B, 1, D) and the other scale's patches (B, N, D') → token (B, 1, D)."""
        token = self.project_in(token)
        tokens = self.norm(torch.cat([token, patches], dim=1))
        return self.project_out(token + self.drop_path(self.mixer(tokens[:, :1], tokens)))


class MultiScaleBlock(nn.Module):
    """Blocks of each scale, then a fusion of their class tokens.

    Args:
        branches: blocks of each scale.
        fusions: fusion of each scale's class token.

    Example:
        >>> model = vitrail.create_model("CrossViT", image_size=48, patch_size=(12, 16), depth=1,
        ...     num_classes=5, dim=(8, 16), heads=2)
        >>> model.blocks[0](model.embed(torch.zeros(1, 3, 48, 48))).patches.shape
        torch.Size([1, 16, 8])
    """

    def __init__(self, branches: list[nn.Sequential], fusions: list[Fusion]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.fusions = nn.ModuleList(fusions)

    def forward(self, features: Features) -> Features:
        """Features of the first scale, with the second's tokens in `extras` → the same."""
        tokens = [torch.cat([features.prefix, features.patches], dim=1), features.extras[0]]
        a, b = (branch(x) for branch, x in zip(self.branches, tokens, strict=True))
        token_a = self.fusions[0](a[:, :1], b[:, 1:])
        token_b = self.fusions[1](b[:, :1], a[:, 1:])
        extras = (torch.cat([token_b, b[:, 1:]], dim=1),)
        return features._replace(patches=a[:, 1:], prefix=token_a, extras=extras)


class ScaleHeads(nn.Module):
    """A linear head per scale, whose logits are averaged.

    Args:
        dim: width of a token, per scale.
        num_classes: width of the logits.

    Example:
        >>> ScaleHeads((8, 12), 5)(torch.zeros(2, 20)).shape
        torch.Size([2, 5])
    """

    def __init__(self, dim: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(nn.Linear(width, num_classes) for width in dim)
        self.dim = dim

    def forward(self, pooled: Tensor) -> Tensor:
        """pooled (B, D + D'), the class tokens side by side → logits (B, classes)."""
        first, second = pooled.split(self.dim, dim=1)
        return (self.scales[0](first) + self.scales[1](second)) / 2


class CrossViT(Backbone):
    """Vision Transformer of two scales that attend to each other (Chen et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other that patches of the first scale divide.
        patch_size: pixels of a patch on both axes, per scale.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per scale.
        depth: number of multi-scale blocks.
        heads: number of attention heads, a divisor of both widths.
        branch_depth: number of blocks of each scale in a multi-scale block.
        mlp_ratio: hidden width of an MLP divided by `dim`.
        scale: size of the second scale's image divided by the first's; the nearest size that its
            patches divide is used.
        stem: "patch", a linear projection of patches; "conv", CrossViT†'s three convolutions.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches of the first scale.

    Example:
        >>> model = CrossViT(48, (12, 16), num_classes=5, dim=(8, 16), depth=1, heads=2)
        >>> model(torch.zeros(2, 3, 48, 48)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification",
        "Chen et al.",
        2021,
        "https://arxiv.org/abs/2103.14899",
        change="Two branches with patches of two sizes; class tokens attend across.",
    )
    dim: tuple[int, ...]

    def __init__(
        self,
        image_size: Size,
        patch_size: tuple[PositiveInt, PositiveInt],
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, PositiveInt],
        depth: PositiveInt,
        heads: PositiveInt,
        branch_depth: tuple[PositiveInt, PositiveInt] = (1, 4),
        mlp_ratio: PositiveFloat = 4.0,
        scale: PositiveFloat = 224 / 240,
        stem: Literal["patch", "conv"] = "patch",
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.dim = dim

        def embedding(patch: int, width: int, ratio: float) -> ScaleEmbed:
            patch_embed: PatchEmbed | ConvStem
            if stem == "conv":
                patch_embed = ConvStem(patch, channels, width)
            else:
                patch_embed = PatchEmbed((patch, patch), channels, width, init="torch")
            return ScaleEmbed(patch_embed, self.image_size, ratio, width)

        def branch(width: int, rates: list[float]) -> nn.Sequential:
            return nn.Sequential(
                *(
                    Block(
                        width,
                        Attention(width, heads, dropout=dropout),
                        Mlp(width, int(mlp_ratio * width), dropout),
                        drop_path=rate,
                        norm_eps=norm_eps,
                    )
                    for rate in rates
                )
            )

        scales = [embedding(*each) for each in zip(patch_size, dim, (1.0, scale), strict=True)]
        self.scales, self.grid = nn.ModuleList(scales), scales[0].grid
        self.emb_dropout = nn.Dropout(emb_dropout)
        longest = max(branch_depth)
        rates = drop_path_rates(drop_path, depth * longest)
        blocks = []
        for i in range(0, depth * longest, longest):
            last = (heads, dropout, rates[i + longest - 1], norm_eps)
            blocks.append(
                MultiScaleBlock(
                    [branch(d, rates[i : i + n]) for d, n in zip(dim, branch_depth, strict=True)],
                    [Fusion(dim[0], dim[1], *last), Fusion(dim[1], dim[0], *last)],
                )
            )
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.ModuleList(nn.LayerNorm(width, eps=norm_eps) for width in dim)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → Features of the first scale; the second's tokens in `extras`."""
        check_images(images, self.channels)
        (first, grid), (second, _) = (scale(images) for scale in self.scales)
        first, second = self.emb_dropout(first), self.emb_dropout(second)
        return Features(first[:, 1:], first[:, :1], grid, extras=(second,))

    def encode(self, features: Features) -> Features:
        """Features → Features of the same shapes, both scales normalized."""
        self.require_whole_grid(features)
        return self.normalize(self.run_blocks(features))

    def normalize(self, features: Features) -> Features:
        """Features → Features of the same shapes, both scales normalized."""
        patches, prefix = self.norm[0](features.patches), self.norm[0](features.prefix)
        extras = (self.norm[1](features.extras[0]),)
        return features._replace(patches=patches, prefix=prefix, extras=extras)

    def pool(self, features: Features) -> Tensor:
        """Features → both class tokens side by side (B, D + D')."""
        return torch.cat([features.prefix[:, 0], features.extras[0][:, 0]], dim=1)

    @property
    def pooled_dim(self) -> int:
        """D + D'."""
        return sum(self.dim)

    def make_head(self, num_classes: int) -> nn.Module:
        """num_classes, 0 for none → a head per scale, or `nn.Identity`."""
        return ScaleHeads(self.dim, num_classes) if num_classes else nn.Identity()


def _variant(
    parameters: int, dim: int, heads: int, wide: int, ratio: float = 3.0, **more: Any
) -> Variant:
    keywords = {
        "image_size": 240, "patch_size": (12, 16), "num_classes": 1000, "dim": (dim, 2 * dim),
        "depth": 3, "heads": heads, "branch_depth": (1, wide), "mlp_ratio": ratio,
    }  # fmt: skip
    return Variant({**keywords, **more}, parameters)


DAGGER: dict[str, Any] = {"stem": "conv"}
LARGE: dict[str, Any] = {"image_size": 408, "scale": 384 / 408, **DAGGER}
VARIANTS = {
    "crossvit_tiny_240": _variant(7_014_800, 96, 3, 4, 4.0),
    "crossvit_small_240": _variant(26_856_272, 192, 6, 4, 4.0),
    "crossvit_base_240": _variant(105_025_232, 384, 12, 4, 4.0),
    "crossvit_9_240": _variant(8_553_296, 128, 4, 3),
    "crossvit_15_240": _variant(27_528_464, 192, 6, 5),
    "crossvit_18_240": _variant(43_271_408, 224, 7, 6),
    "crossvit_9_dagger_240": _variant(8_776_592, 128, 4, 3, **DAGGER),
    "crossvit_15_dagger_240": _variant(28_209_008, 192, 6, 5, **DAGGER),
    "crossvit_15_dagger_408": _variant(28_500_080, 192, 6, 5, **LARGE),
    "crossvit_18_dagger_240": _variant(44_266_976, 224, 7, 6, **DAGGER),
    "crossvit_18_dagger_408": _variant(44_606_560, 224, 7, 6, **LARGE),
}
