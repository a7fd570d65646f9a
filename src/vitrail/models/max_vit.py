"""MaxViT: "MaxViT: Multi-Axis Vision Transformer" (Tu et al. 2022,
https://arxiv.org/abs/2204.01697).

    image (B, C, H, W)
      └ stem, two convolutions ─ map (B, H/2, W/2, D)
          └ stage 1: depth × MaxViTBlock, whose first halves the map ─ (B, H/4, W/4, D₁)
            └ stages 2 to 4 alike ─ (B, H/32, W/32, D₄)
                └ mean over positions ─ neck: norm, linear, tanh ─ (B, D₄) ─ head ─ (B, classes)

    MaxViTBlock: MBConv ─ Block(block attention, Mlp) ─ Block(grid attention, Mlp)

Differs from ViT: every block first convolves, then attends twice, within windows of adjacent
positions ("block attention") and within windows whose positions are spread evenly over the map
("grid attention"): local and global, at a cost that grows linearly with the image. Positions are
relative, within a window.

The model follows the authors' TensorFlow code, which the public weights ("tf" in their names) need:
strided convolutions are padded at the far edges first, GELU is the tanh approximation, batch norms
have an epsilon of 0.001. A map that windows do not divide is padded with zeros; the authors and
timm refuse it. vit-pytorch puts the norm of MBConv after instead of before it, has no shortcut
where it halves the map, and nothing between the two convolutions of its stem.
"""

from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import ConvNorm, MBConv, pad_same
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images, to_tuple
from vitrail.layers.pyramid import check_stages
from vitrail.layers.relative_position import RelativeBias
from vitrail.layers.window import WindowAttention
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidBackbone, PyramidStage
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


def approximate_gelu() -> nn.Module:
    """Builds a GELU by its tanh approximation, MaxViT's activation.

    Returns:
        The activation.

    Example:
        >>> approximate_gelu()(torch.zeros(1))
        tensor([0.])
    """
    return nn.GELU(approximate="tanh")


class MaxViT(PyramidBackbone):
    """MaxViT (Tu et al. 2022).

    Args:
        image_size: pixels (height, width), or one number for both. Any size works.
        num_classes: width of the logits; 0 for no head.
        stem_dim: width of the stem.
        dim: width of a token, per stage.
        depth: number of blocks, per stage.
        heads: number of attention heads, per stage.
        neck_dim: width of the head's input.
        window: sides (rows, columns) of the windows of block and of grid attention, or one number
            for both; a 32nd of the image size is the authors' choice.
        mlp_ratio: hidden width of an MLP divided by the width of its stage.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.
        batch_eps: epsilon of every batch norm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.

    Example:
        >>> model = MaxViT(16, num_classes=5, stem_dim=4, dim=(8,), depth=(1,), heads=(2,),
        ...     neck_dim=8, window=2)
        >>> model(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "MaxViT: Multi-Axis Vision Transformer",
        "Tu et al.",
        2022,
        "https://arxiv.org/abs/2204.01697",
        change="Convolution, window attention and grid attention in every block.",
    )
    after_blocks = ("norm", "neck", "head")

    def __init__(
        self,
        image_size: Size,
        num_classes: NonNegativeInt,
        stem_dim: PositiveInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        neck_dim: PositiveInt,
        window: Size = 7,
        mlp_ratio: PositiveFloat = 4.0,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-5,
        batch_eps: PositiveFloat = 1e-3,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads)
        self.dim, self.neck_dim = dim, neck_dim
        self.grid = tuple(-(-side // 2) for side in self.image_size)
        self.strides = tuple(4 * 2**i for i in range(len(depth)))
        sides = to_tuple(window)

        def make_block(width: int, head_count: int, spread: bool, rate: float) -> Block:
            attention = Attention(width, head_count, dropout=dropout)
            bias = RelativeBias(sides, head_count)
            return Block(
                width,
                WindowAttention(attention, sides, spread=spread, bias=bias),
                Mlp(width, int(mlp_ratio * width), dropout, activation=approximate_gelu()),
                drop_path=rate,
                norm_eps=norm_eps,
            )

        self.stem = ConvNorm(
            channels, stem_dim, 3, 2, padding=0, bias=True, activation=approximate_gelu(),
            norm_eps=batch_eps,
        )  # fmt: skip
        self.stem_conv = nn.Conv2d(stem_dim, stem_dim, 3, padding=1)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages = []
        dim_in = stem_dim
        for width, block_count, head_count in zip(dim, depth, heads, strict=True):
            blocks = []
            for j in range(block_count):
                rate, stride = next(rates), 1 if j else 2
                convolve = MBConv(
                    dim_in, width, stride, activation=approximate_gelu(), drop_path=rate,
                    norm_eps=batch_eps,
                )  # fmt: skip
                pair = [make_block(width, head_count, spread, rate) for spread in (False, True)]
                blocks.append(nn.Sequential(convolve, *pair))
                dim_in = width
            stages.append(PyramidStage(nn.Identity(), blocks))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.Identity()  # the neck normalizes, after the mean
        self.neck = nn.Sequential(
            nn.LayerNorm(dim[-1], eps=norm_eps), Linear(dim[-1], neck_dim), nn.Tanh()
        )
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → tokens (B, N, D) of every second pixel, no prefix."""
        check_images(images, self.channels)
        images = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # channels last
        x = self.stem_conv(self.stem(pad_same(images, 3, 2)))
        return Features.from_map(x.permute(0, 2, 3, 1))

    def pool(self, features: Features) -> Tensor:
        """Features → (B, neck_dim), from the mean of the positions."""
        return self.neck(super().pool(features))

    @property
    def pooled_dim(self) -> int:
        """The width of the neck."""
        return self.neck_dim

    def init_weights(self) -> None:
        """Initializes every parameter as the authors' code does.

        All weights of convolutions, linear layers and bias tables start from std 0.02, biases
        from 0.
        """
        super().init_weights()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def _variants(
    name: str, stem: int, dim: int, depth: tuple[int, ...], *parameters: int
) -> dict[str, Variant]:
    """At 224, 384 and 512 pixels, which differ in their windows' tables only."""
    widths = tuple(dim * 2**i for i in range(4))
    return {
        f"maxvit_{name}_tf_{size}": Variant(
            {
                "image_size": size, "num_classes": 1000, "stem_dim": stem, "dim": widths,
                "depth": depth, "heads": tuple(width // 32 for width in widths),
                "neck_dim": widths[-1], "window": size // 32,
            },
            count,
        )
        for size, count in zip((224, 384, 512), parameters, strict=True)
    }  # fmt: skip


# timm counts the xlarge one of 224 pixels with the 21,843 classes that it was trained for.
VARIANTS = {
    **_variants("tiny", 64, 64, (2, 2, 5, 2), 30_916_528, 30_977_008, 31_049_584),
    **_variants("small", 64, 96, (2, 2, 5, 2), 68_927_956, 69_018_676, 69_127_540),
    **_variants("base", 64, 96, (2, 6, 14, 2), 119_467_708, 119_653_468, 119_876_380),
    **_variants("large", 128, 128, (2, 6, 14, 2), 211_785_560, 212_033_240, 212_330_456),
    **_variants("xlarge", 192, 192, (2, 6, 14, 2), 474_951_952, 475_323_472, 475_769_296),
}
