"""CrossViT: "CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification"
(Chen et al. 2021, https://arxiv.org/abs/2103.14899).

    image (B, C, H, W) ───────────── resized to 14/15
      └ patches of 12 ─ (B, N, D)      └ patches of 16 ─ (B, N', D')
          └ + position, class token        └ + position, class token
              └ 1 Block                        └ 4 Blocks                           ┐
                  └ Fusion: the class tokens ask the patches of the other scale     ┘ × depth
                      └ norm ─ [both class tokens] ─ (B, D + D') ─ head ─ (B, classes)

Differs from ViT: small patches go through few narrow blocks, large ones through many wide blocks.
They exchange what they know through their class tokens alone, at a cost linear in the patches.

The paper takes the mean of two linear heads, one for each class token, which is one linear head on
both: a bias for each class is absent, as are positions of class tokens (see `vit.py`). In
vit-pytorch class tokens ask patches that were not normalised, add what they found in their own
width instead of the other's, and each block ends in norms; and it resizes nothing.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, check_choice
from vitrail.layers.attention import Attention, CrossAttention
from vitrail.layers.block import Block, DropPath, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, Size, check_images, patch_grid
from vitrail.layers.position import resize_positions
from vitrail.models.base import Backbone, Features, Variant
from vitrail.models.paper import Paper


class ConvStem(nn.Sequential):
    """CrossViT†'s patches of 12 or 16 pixels: three convolutions, which overlap."""

    def __init__(self, patch: int, channels: int, dim: int) -> None:
        if patch not in (12, 16):
            raise ConfigError(f"patch_size={patch} has no stem of convolutions: take 12 or 16.")
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


class Scale(nn.Module):
    """How one scale sees an image: resized, in patches, with positions, behind a class token.

    `scale`: of its size to the image's; the nearest that patches divide, but for 1 exactly that.
    """

    def __init__(
        self, embed: PatchEmbed | ConvStem, image_size: tuple[int, ...], scale: float, dim: int
    ) -> None:
        super().__init__()
        self.patch, self.scale = embed.patch, scale
        self.patch_embed = embed
        self.grid = self.grid_of(image_size)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        self.position = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1], dim))

    def grid_of(self, image_size: tuple[int, ...]) -> tuple[int, ...]:
        """How many patches an image has here, on each axis."""
        if self.scale == 1:
            return patch_grid(image_size, self.patch)
        every = zip(image_size, self.patch, strict=True)
        return tuple(max(1, round(side * self.scale / p)) for side, p in every)

    def positions_at(self, grid: tuple[int, ...]) -> Tensor:
        """(1, N, D) for a grid of N patches."""
        return resize_positions(self.position, self.grid, grid)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """images (B, C, H, W) → tokens (B, 1 + N, D), class token first, and the patches' grid."""
        grid = self.grid_of(tuple(images.shape[2:]))
        size = tuple(side * p for side, p in zip(grid, self.patch, strict=True))
        if size != images.shape[2:]:
            images = F.interpolate(images, size, mode="bicubic")
        patches, _ = self.patch_embed(images)
        class_token = self.class_token.expand(patches.shape[0], -1, -1)
        return torch.cat([class_token, patches + self.positions_at(grid)], dim=1), grid


class Fusion(nn.Module):
    """The class token of one scale, in the width of the other, asks itself and its patches."""

    def __init__(
        self, dim: int, other: int, heads: int, dropout: float, drop_path: float, norm_eps: float
    ) -> None:
        super().__init__()

        def projection(c: int, d: int) -> nn.Sequential:
            return nn.Sequential(nn.LayerNorm(c, eps=norm_eps), nn.GELU(), nn.Linear(c, d))

        self.there, self.back = projection(dim, other), projection(other, dim)
        self.norm = nn.LayerNorm(other, eps=norm_eps)
        self.mixer = CrossAttention(other, heads, dropout=dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, token: Tensor, patches: Tensor) -> Tensor:
        """token (B, 1, D) and the other scale's patches (B, N, D') → token (B, 1, D)."""
        token = self.there(token)
        tokens = self.norm(torch.cat([token, patches], dim=1))
        return self.back(token + self.drop_path(self.mixer(tokens[:, :1], tokens)))


class MultiScaleBlock(nn.Module):
    """Blocks of each scale, then an exchange between their class tokens."""

    def __init__(self, branches: list[nn.Sequential], fusions: list[Fusion]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.fusions = nn.ModuleList(fusions)

    def forward(self, features: Features) -> Features:
        """Features of the first scale, the second's tokens (B, 1 + N', D') in `aside` → alike."""
        tokens = [torch.cat([features.prefix, features.patches], dim=1), features.extras[0]]
        a, b = (branch(x) for branch, x in zip(self.branches, tokens, strict=True))
        from_b, from_a = self.fusions[0](a[:, :1], b[:, 1:]), self.fusions[1](b[:, :1], a[:, 1:])
        second = torch.cat([from_a, b[:, 1:]], dim=1)
        return features._replace(prefix=from_b, patches=a[:, 1:], extras=(second,))


class CrossViT(Backbone):
    """A Vision Transformer on two scales. `Features` are the first's; the second's are `aside`.

    Args:
        patch_size, dim, branch_depth: pixels (square), width, and blocks in each of the `depth`
            multi-scale blocks; a number for each scale.
        scale: of the second scale's image to the one given, which is resized to the nearest size
            that the patches divide; the first's patches must divide the one given.
        stem: "patch", or "conv", which is CrossViT†'s.
        mlp_ratio: hidden width of the MLPs over that of their scale. The rest as in `ViT`.
    """

    paper = Paper(
        "CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification",
        "Chen et al.",
        2021,
        "https://arxiv.org/abs/2103.14899",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: tuple[int, int],
        num_classes: int,
        dim: tuple[int, int],
        depth: int,
        heads: int,
        branch_depth: tuple[int, int] = (1, 4),
        mlp_ratio: float = 4.0,
        scale: float = 224 / 240,
        stem: str = "patch",
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_choice("stem", stem, ("patch", "conv"))
        self.dim = tuple(dim)

        def scaled(patch: int, width: int, ratio: float) -> Scale:
            if stem == "conv":
                return Scale(ConvStem(patch, channels, width), self.image_size, ratio, width)
            return Scale(PatchEmbed((patch, patch), channels, width), self.image_size, ratio, width)

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

        first, second = (scaled(*each) for each in zip(patch_size, dim, (1.0, scale), strict=True))
        self.scales, self.grid = nn.ModuleList([first, second]), first.grid
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
        """images (B, C, H, W) → Features of the first scale; `aside`: the second's tokens."""
        check_images(images, self.channels)
        (first, grid), (second, _) = (scale(images) for scale in self.scales)
        first, second = self.emb_dropout(first), self.emb_dropout(second)
        return Features(first[:, 1:], first[:, :1], grid, extras=(second,))

    def encode(self, features: Features) -> Features:
        """Features → Features of the same shapes, both scales normalised."""
        self.needs_all(features)
        features = self.run_blocks(features)
        patches, prefix = self.norm[0](features.patches), self.norm[0](features.prefix)
        aside = (self.norm[1](features.extras[0]),)
        return features._replace(patches=patches, prefix=prefix, extras=aside)

    def pool(self, features: Features) -> Tensor:
        """Features → both class tokens side by side (B, D + D')."""
        return torch.cat([features.prefix[:, 0], features.extras[0][:, 0]], dim=1)

    @property
    def pooled_dim(self) -> int:
        """D + D'."""
        return sum(self.dim)

    def weights_for(self, other: Backbone) -> dict[str, Tensor]:
        """The weights of this model as `other`, the same at another image_size, has them."""
        tables = {
            f"{name}.position": module.positions_at(module.grid_of(other.image_size))
            for name, module in self.named_modules()
            if isinstance(module, Scale)
        }
        return {**self.state_dict(), **tables}


def _variant(
    parameters: int, dim: int, heads: int, wide: int, ratio: float = 3.0, **more: Any
) -> Variant:
    keywords = {
        "image_size": 240, "patch_size": (12, 16), "num_classes": 1000, "dim": (dim, 2 * dim),
        "depth": 3, "heads": heads, "branch_depth": (1, wide), "mlp_ratio": ratio,
    }  # fmt: skip
    return Variant({**keywords, **more}, parameters, absent=3 * dim + 1000)


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
