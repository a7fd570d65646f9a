"""NesT: "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and Interpretable Visual
Understanding" (Zhang et al. 2021, https://arxiv.org/abs/2105.12723).

    image (B, C, H, W)
      └ patch_embed ─ map (B, H/4, W/4, D)
          └ level 1: + position, cut into 4 × 4 blocks, within each: depth × Block(Attention, Mlp)
              └ levels 2 and 3: Aggregate ─ (B, H/8, W/8, 2D) ─ 2 × 2 blocks, then the whole map
                  └ norm ─ mean over positions ─ (B, 4D) ─ head ─ (B, classes)

Differs from ViT: a tree of ViTs, the same at every level, each on one block of the map. Four blocks
become one of the next level by a convolution and max pooling of the whole map, which are the only
connection between blocks. Positions are learned at every level.

The number of blocks is fixed, so on other sizes blocks grow with the image, and positions are
resampled. timm's "nest_*" without "_jx" pool with padding on both sides and have no public weights;
the authors' code, and the weights that timm took from it, pad on the far side only.
"""

from typing import Any, Literal

from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import PositionTable
from vitrail.layers.pyramid import check_stages
from vitrail.layers.window import partition, unpartition
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidBackbone, PyramidStage
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class Aggregate(nn.Module):
    """Block aggregation: convolution, norm and max pooling to half the positions on each axis.

    Args:
        dim_in: number of input channels.
        dim: number of output channels.
        max_pool: pooling of stride 2, (B, D, H, W) to (B, D, H / 2, W / 2).
        norm_eps: epsilon of the LayerNorm.

    Example:
        >>> Aggregate(4, 8, nn.MaxPool2d(2), 1e-6)(torch.zeros(1, 4, 6, 4)).shape
        torch.Size([1, 2, 3, 8])
    """

    def __init__(self, dim_in: int, dim: int, max_pool: nn.Module, norm_eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim, 3, padding=1)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.max_pool = max_pool

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / 2, W / 2, D), of even sides."""
        x = self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return self.max_pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Level(PyramidStage):
    """A level of the tree: transformers on `count` × `count` blocks of the map.

    Args:
        downsample: module from (B, H, W, C) to (B, H', W', D).
        blocks: transformer blocks from (B, N, D) to the same shape.
        position: learned positions of the level's grid.
        count: number of blocks of the map on each axis.

    Example:
        >>> level = Level(nn.Identity(), [nn.Linear(8, 8)], PositionTable((4, 4), 8), count=2)
        >>> level(Features.from_map(torch.zeros(1, 4, 4, 8))).grid
        (4, 4)
    """

    def __init__(
        self, downsample: nn.Module, blocks: list[nn.Module], position: PositionTable, count: int
    ) -> None:
        super().__init__(downsample, blocks)
        self.position, self.count = position, count

    def forward(self, features: Features) -> Features:
        """Features on a grid → Features on this level's."""
        x = self.downsample(features.to_map())
        size = tuple(x.shape[1:3])
        block_size = (size[0] // self.count, size[1] // self.count)
        x = partition(x + self.position(size).unflatten(1, size), block_size)
        for block in self.blocks:
            x = block(x)
        return Features.from_map(unpartition(x, block_size, size))


class NesT(PyramidBackbone):
    """Nested hierarchical Transformer (Zhang et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for others. Of L levels the first has 2 ** (L - 1) blocks of the map
            on each axis, into which the patches must divide.
        patch_size: pixels of a patch (height, width), or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per level.
        depth: number of transformer blocks, per level.
        heads: number of attention heads, per level.
        mlp_ratio: hidden width of an MLP divided by the width of its level.
        padding: sides on which the max pooling pads: "far", below and on the right, as the authors;
            "both", all four.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into blocks of patches.

    Example:
        >>> model = NesT(16, 4, num_classes=5, dim=(8, 16), depth=(1, 1), heads=(2, 2))
        >>> model(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and Interpretable "
        "Visual Understanding",
        "Zhang et al.",
        2021,
        "https://arxiv.org/abs/2105.12723",
        change="Attention within separate blocks, which convolutions connect.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        mlp_ratio: PositiveFloat = 4.0,
        padding: Literal["far", "both"] = "far",
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads)
        patch, levels = to_tuple(patch_size), len(depth)
        self.unit = tuple(side * 2 ** (levels - 1) for side in patch)  # pixels
        patch_grid(self.image_size, self.unit)
        self.dim, self.grid = dim, patch_grid(self.image_size, patch)
        self.strides = tuple(patch[0] * 2**i for i in range(levels))

        self.patch_embed = PatchEmbed(patch, channels, dim[0])
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))

        def make_block(width: int, head_count: int) -> Block:
            attention = Attention(width, head_count, dropout=dropout)
            mlp = Mlp(width, int(mlp_ratio * width), dropout)
            return Block(width, attention, mlp, drop_path=next(rates), norm_eps=norm_eps)

        stages = []
        for i, width in enumerate(dim):
            downsample: nn.Module = nn.Identity()
            if i:
                far = padding == "far"
                max_pool = nn.MaxPool2d(3, 2, padding=0 if far else 1, ceil_mode=far)
                downsample = Aggregate(dim[i - 1], width, max_pool, norm_eps)
            blocks: list[nn.Module] = [make_block(width, heads[i]) for _ in range(depth[i])]
            position = PositionTable(tuple(side // 2**i for side in self.grid), width)
            stages.append(Level(downsample, blocks, position, 2 ** (levels - 1 - i)))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix."""
        patches, grid = self.patch_embed(images)
        patch_grid(tuple(images.shape[2:]), self.unit)
        patches = self.emb_dropout(patches)
        return Features(patches, patches[:, :0], grid)

    def init_weights(self) -> None:
        """Initializes every parameter as timm's `nest.py`, which copies the authors.

        All weights and positions start from std 0.02, biases from 0.
        """
        super().init_weights()
        for module in self.modules():
            if isinstance(module, nn.Conv2d | PatchEmbed):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def _variants(name: str, parameters: int, dim: int, depth: int, heads: int) -> dict[str, Variant]:
    """A size, with the authors' padding and with timm's."""
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 4, "num_classes": 1000, "depth": (2, 2, depth),
        "dim": (dim, 2 * dim, 4 * dim), "heads": (heads, 2 * heads, 4 * heads),
    }  # fmt: skip
    return {
        f"nest_{name}_jx": Variant(keywords, parameters),
        f"nest_{name}": Variant({**keywords, "padding": "both"}, parameters),
    }


VARIANTS = {
    **_variants("tiny", 17_057_608, 96, 8, 3),
    **_variants("small", 38_351_176, 96, 20, 3),
    **_variants("base", 67_723_368, 128, 20, 4),
}
