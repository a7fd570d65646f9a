"""MaxViT: "MaxViT: Multi-Axis Vision Transformer" (Tu et al. 2022,
https://arxiv.org/abs/2204.01697).

    image (B, C, H, W)
      └ stem, two convolutions ─ map (B, H/2, W/2, D)
          └ stage 1: depth × [MBConv ─ Block(block attention, Mlp) ─ Block(grid attention, Mlp)],
            │        whose first MBConv halves the map ─ (B, H/4, W/4, D₁)
            └ stages 2 to 4 alike ─ (B, H/32, W/32, D₄)
                └ mean over places ─ neck: norm, linear, tanh ─ (B, D₄) ─ head ─ (B, classes)

Differs from ViT: every block first convolves, then attends twice, within windows of neighbours
("block") and within windows whose places are spread evenly over the map ("grid"): local and global,
at a cost that grows linearly with the image. Relative positions within a window.

It is as the authors' TensorFlow code has it, which the public weights ("tf" in their names) need:
convolutions that stride are padded at the far edges first, GELU is the approximate one, batch norms
have an epsilon of 0.001. The bias of the stem's first convolution is absent: the norm after it
takes it away. A map that windows do not divide is padded with zeros (others refuse it). vit-pytorch
normalises in MBConv behind instead of before, has no shortcut where it halves the map, and nothing
between the two convolutions of its stem.
"""

from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import ConvNorm, MBConv, pad_same
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images, to_tuple
from vitrail.layers.relative_position import RelativeBias
from vitrail.layers.window import WindowAttention
from vitrail.models.base import Features, PyramidBackbone, PyramidStage, Variant
from vitrail.models.paper import Paper


class MaxViT(PyramidBackbone):
    """A MaxViT.

    Args:
        stem_dim: width of the stem. dim, depth, heads: width, blocks and attention heads, one
            number for each stage.
        neck_dim: width of what the head reads.
        window: places (rows, columns) of a window, and of a grid's, or one number for both: a
            32nd of the image size is the authors' choice.
        mlp_ratio: hidden width of the MLPs over that of their stage.
        dropout: on attention weights, projections and MLPs. norm_eps: of LayerNorms; batch_eps: of
            batch norms. The rest as in `ViT`. Images of any size.
    """

    paper = Paper(
        "MaxViT: Multi-Axis Vision Transformer",
        "Tu et al.",
        2022,
        "https://arxiv.org/abs/2204.01697",
    )

    late = ("norm", "neck", "head")

    def __init__(
        self,
        image_size: int | tuple[int, int],
        num_classes: int,
        stem_dim: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        neck_dim: int,
        window: int | tuple[int, int] = 7,
        mlp_ratio: float = 4.0,
        channels: int = 3,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-5,
        batch_eps: float = 1e-3,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.dim, self.neck_dim = tuple(dim), neck_dim
        self.grid = tuple(-(-side // 2) for side in self.image_size)
        self.strides = tuple(4 * 2**i for i in range(len(depth)))
        gelu = nn.GELU(approximate="tanh")
        size = to_tuple(window)

        def attend(width: int, head_count: int, spread: bool, rate: float) -> Block:
            """A transformer block of block attention, or of grid attention if `spread`."""
            attention = Attention(width, head_count, dropout=dropout)
            return Block(
                width,
                WindowAttention(
                    attention, size, spread=spread, bias=RelativeBias(size, head_count)
                ),
                Mlp(width, int(mlp_ratio * width), dropout, activation=gelu),
                drop_path=rate,
                norm_eps=norm_eps,
            )

        self.stem = ConvNorm(
            channels, stem_dim, 3, 2, padding=0, activation=gelu, norm_eps=batch_eps
        )
        self.stem_conv = nn.Conv2d(stem_dim, stem_dim, 3, padding=1)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages = []
        before = stem_dim
        for width, blocks, head_count in zip(dim, depth, heads, strict=True):
            stage = []
            for j in range(blocks):
                rate, stride = next(rates), 1 if j else 2
                convolve = MBConv(
                    before, width, stride, activation=gelu, drop_path=rate, norm_eps=batch_eps
                )
                pair = [attend(width, head_count, spread, rate) for spread in (False, True)]
                stage.append(nn.Sequential(convolve, *pair))
                before = width
            stages.append(PyramidStage(nn.Identity(), stage))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.Identity()  # the map is averaged first
        self.neck = nn.Sequential(
            nn.LayerNorm(dim[-1], eps=norm_eps), Linear(dim[-1], neck_dim), nn.Tanh()
        )
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → places (B, N, D) of a grid of every second pixel, no prefix."""
        check_images(images, self.channels)
        images = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # as maps lie
        x = self.stem_conv(self.stem(pad_same(images, 3, 2)))
        return Features.from_map(x.permute(0, 2, 3, 1))

    def pool(self, features: Features) -> Tensor:
        """Features → (B, neck_dim), of the mean of the places."""
        return self.neck(super().pool(features))

    @property
    def pooled_dim(self) -> int:
        """The neck's width."""
        return self.neck_dim


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
            absent=stem,
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
