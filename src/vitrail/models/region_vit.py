"""RegionViT: "RegionViT: Regional-to-Local Attention for Vision Transformers" (Chen et al. 2021,
https://arxiv.org/abs/2106.02689).

    image (B, C, H, W)
      ├ 3 convolutions ─ local tokens, map (B, H/4, W/4, D)
      └ patches of 28 × 28 ─ regional tokens (B, H/28, W/28, D), one for 7 × 7 local ones
          └ stage 1: depth × RegionBlock
              └ stages 2 to 4: norm, convolution of both maps ─ (B, H/8, W/8, 2D) ─ blocks, ...
                  └ norm ─ mean over regional tokens ─ (B, 8D) ─ head ─ (B, classes)

Differs from ViT: two sizes of patches. In a block the regional tokens first attend to each other,
then each with the local tokens of its region, by the same layer; so the local ones learn of the
rest of the image. The regional map goes beside the local one, in `Features.extras`.

Where regions do not fit the image, or the map of a later stage, zeros on the far sides make them
fit, which nobody attends to; vit-pytorch's file of this name fails there, for images of three
regions already. It also has 4 heads of 32 channels at every width, where the paper has width / 32.
"""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, check_choice
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import DepthwiseConv, StridedConvNorm
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, check_images, patch_grid
from vitrail.layers.relative_position import RelativeBias
from vitrail.layers.window import pad_to, partition, unpartition
from vitrail.models.base import Features, PyramidBackbone, PyramidStage, Variant
from vitrail.models.paper import Paper


class RegionBlock(nn.Module):
    """Attention of regional tokens, then of each with the local tokens of its region; an MLP."""

    def __init__(self, heads: int, window: int, block: Block, norm_eps: float) -> None:
        super().__init__()
        self.block = block
        self.norm = nn.LayerNorm(block.norm1.normalized_shape, eps=norm_eps)
        self.bias = RelativeBias((window, window), heads)

    def forward(self, x: Tensor, regions: int, mask: Tensor | None) -> Tensor:
        """x (B · regions, 1 + n, D), each region's token first → the same shape.

        mask (B · regions, 1, 1, 1 + n): added to the logits.
        """
        regional, block = x[:, 0].unflatten(0, (-1, regions)), self.block
        regional = regional + block.drop_path(block.mixer(self.norm(regional)))
        x = torch.cat([regional.flatten(0, 1)[:, None], x[:, 1:]], dim=1)
        bias = F.pad(self.bias(), (1, 0, 1, 0))  # none for the regional token
        return block(x, None, bias if mask is None else bias + mask)


class RegionStage(PyramidStage):
    """A stage of local and regional tokens, `window` × `window` to one."""

    def __init__(self, downsample: nn.Module, blocks: list[nn.Module], window: int) -> None:
        super().__init__(downsample, blocks)
        self.window = window

    def forward(self, features: Features) -> Features:
        """Features on a grid, with regional tokens aside → Features on this stage's."""
        x, regional = self.downsample(features.to_map()), self.downsample(features.extras[0])
        height, width = x.shape[1:3]
        rows, columns = regional.shape[1:3]
        window, size = (self.window,) * 2, (rows * self.window, columns * self.window)
        mask = None
        if size != (height, width):
            seen = partition(pad_to(x.new_ones(1, height, width, 1), size), window)
            mask = F.pad(seen.transpose(1, 2), (1, 0), value=1.0).log()[:, None]  # 0 or −∞
            mask = mask.repeat(x.shape[0], 1, 1, 1)
        local = partition(pad_to(x, size), window)
        tokens = torch.cat([regional.flatten(0, 2)[:, None], local], dim=1)
        for block in self.blocks:
            tokens = block(tokens, rows * columns, mask)
        x = unpartition(tokens[:, 1:], window, size)[:, :height, :width]
        regional = tokens[:, 0].unflatten(0, (-1, rows, columns))
        return Features.from_map(x)._replace(extras=(regional,))


class RegionViT(PyramidBackbone):
    """A RegionViT. Keywords as those of `Swin`, but:

    Args:
        patch_size, window: pixels of a local token, local tokens of a region, on each axis.
        stem: the local tokens' "3conv", which has patches of 4 pixels, or "1conv".
    """

    paper = Paper(
        "RegionViT: Regional-to-Local Attention for Vision Transformers",
        "Chen et al.",
        2021,
        "https://arxiv.org/abs/2106.02689",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int,
        num_classes: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        window: int = 7,
        stem: str = "3conv",
        mlp_ratio: float = 4.0,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_choice("stem", stem, ("3conv", "1conv"))
        self.patch = (patch_size, patch_size)
        self.dim, self.grid = tuple(dim), patch_grid(self.image_size, self.patch)
        self.strides = tuple(patch_size * 2**i for i in range(len(depth)))

        coarser: list[nn.Module] = []
        self.patch_embed = nn.Conv2d(channels, dim[0], 2 * patch_size, patch_size, patch_size - 1)
        if stem == "3conv":
            if patch_size != 4:
                raise ConfigError(f'patch_size={patch_size} with stem="3conv" has to be 4.')
            widths = (channels, dim[0] // 4, dim[0] // 2)
            for pair in itertools.pairwise(widths):
                coarser += [StridedConvNorm(*pair, 3, 2, norm_eps=norm_eps), nn.GELU()]
            self.patch_embed = nn.Conv2d(widths[-1], dim[0], 3, padding=1)
        self.stem = nn.Sequential(*coarser)
        self.region_embed = PatchEmbed((patch_size * window, patch_size * window), channels, dim[0])
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages = []
        for i, width in enumerate(dim):
            first: list[nn.Module] = []
            if i:  # of both maps
                conv = DepthwiseConv(dim[i - 1], stride=2, dim_out=width)
                first = [nn.LayerNorm(dim[i - 1], eps=norm_eps), nn.GELU(), conv]
            blocks: list[nn.Module] = []
            for _ in range(depth[i]):
                attention = Attention(width, heads[i], dropout=dropout)
                mlp = Mlp(width, int(mlp_ratio * width), dropout)
                block = Block(width, attention, mlp, drop_path=next(rates), norm_eps=norm_eps)
                blocks.append(RegionBlock(heads[i], window, block, norm_eps))
            stages.append(RegionStage(nn.Sequential(*first), blocks, window))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → local tokens (B, N, D), no prefix; regional tokens aside."""
        check_images(images, self.channels)
        patch_grid(tuple(images.shape[2:]), self.patch)
        x = self.stem(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.emb_dropout(self.patch_embed(x).permute(0, 2, 3, 1))
        padded = pad_to(images.permute(0, 2, 3, 1), self.region_embed.patch).permute(0, 3, 1, 2)
        regional, grid = self.region_embed(padded)
        return Features.from_map(x)._replace(extras=(regional.unflatten(1, grid),))

    def encode(self, features: Features) -> Features:
        """Features on the finest grid → normalised Features on the coarsest."""
        features = super().encode(features)
        return features._replace(extras=(self.norm(features.extras[0]),))

    def pool(self, features: Features) -> Tensor:
        """Features → the mean of the regional tokens (B, D)."""
        return features.extras[0].mean(dim=(1, 2))


def _variant(parameters: int, dim: int, depth: int, stem: str, window: int = 7) -> Variant:
    dims = tuple(dim * 2**i for i in range(4))
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 4, "num_classes": 1000, "window": window, "stem": stem,
        "dim": dims, "depth": (2, 2, depth, 2), "heads": tuple(width // 32 for width in dims),
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
