"""CCT: "Escaping the Big Data Paradigm with Compact Transformers" (Hassani et al. 2021,
https://arxiv.org/abs/2104.05704).

    image (B, C, H, W)
      └ tokenizer: convolutions, each with ReLU and max pooling ─ (B, N, D) + position
          └ depth × CCTBlock(Attention, Mlp)
              └ norm ─ sequence pooling, a mean with learned weights ─ (B, D) ─ head ─ (B, classes)

CCT differs from ViT in three points. Convolutions make the tokens, so that each token depends on
its neighborhood before the first block. A weighted mean of all patches takes the place of the class
token. Queries, keys and values have no bias. In the authors' blocks, which their weights need, the
second norm normalizes the residual stream itself, not only the input of the MLP.

A video or volume (B, C, T, H, W) has kernels of three axes, and a signal (B, C, L) of one. Pooling
halves height and width, or the length, and never the number of frames.

Sequence pooling has a bias, as in the authors' code. It adds the same number to all logits of a
softmax, which ignores it.
"""

import itertools
from typing import Any, Literal

from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import channels_last
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images, to_tuple
from vitrail.layers.position import PositionTable, sequence_positions
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size

CONV: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOL: dict[int, type[nn.Module]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}


class CCTBlock(Block):
    """CCT's block: x + mixer(norm(x)), then norm(x) + mlp(norm(x)).

    Example:
        >>> CCTBlock(8, Attention(8, heads=2), Mlp(8, 16))(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """x (B, N, D) → (B, N, D)."""
        x = self.norm2(x + self.drop_path(self.scale1(self.mixer(self.norm1(x)))))
        return x + self.drop_path(self.scale2(self.mlp(x)))


class CCT(SequenceBackbone):
    """Compact convolutional transformer for images of any size (Hassani et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both; (length,) for signals, (frames,
            height, width) for videos and volumes. Learned positions are for this size and resampled
            for any other.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        patch_size: pixels of the tokenizer's kernels on the same axes, odd numbers; one number for
            all.
        stride: stride of the tokenizer's convolutions on the same axes; one number for all. Max
            pooling after each halves the grid.
        convolutions: number of convolutions of the tokenizer; all but the last are 64 wide.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        position: "learned", a table; "sincos", fixed, of the index in the sequence; "none".
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.

    Example:
        >>> model = CCT(16, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> model(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Escaping the Big Data Paradigm with Compact Transformers",
        "Hassani et al.",
        2021,
        "https://arxiv.org/abs/2104.05704",
        change="A convolutional stem and learned sequence pooling, for small datasets.",
    )
    axes = (2, 1, 3)
    after_blocks = ("norm", "sequence_pool", "head")

    def __init__(
        self,
        image_size: Size,
        num_classes: NonNegativeInt,
        dim: PositiveInt,
        depth: PositiveInt,
        heads: PositiveInt,
        mlp_dim: PositiveInt,
        patch_size: Size = 3,
        stride: Size = 1,
        convolutions: PositiveInt = 1,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        position: Literal["learned", "sincos", "none"] = "learned",
        norm_eps: PositiveFloat = 1e-5,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        axes = len(self.image_size)
        kernel, steps = to_tuple(patch_size, axes), to_tuple(stride, axes)
        if any(side % 2 == 0 for side in kernel):
            odd = tuple(side // 2 * 2 + 1 for side in kernel)
            cure = odd[0] if isinstance(patch_size, int) else odd
            raise ConfigError(f"patch_size={patch_size} is not odd: use {cure}.")
        self.dim, self.position_kind = dim, position
        self.grid = self.image_size
        widths = (channels, *[64] * (convolutions - 1), dim)
        conv, pool = CONV[axes], POOL[axes]
        padding = tuple(side // 2 for side in kernel)
        window, halves, margin = (3,) * axes, (2,) * axes, (1,) * axes
        if axes == 3:  # frames are not pooled
            window, halves, margin = (1, 3, 3), (1, 2, 2), (0, 1, 1)
        self.tokenizer = nn.Sequential()
        for before, width in itertools.pairwise(widths):
            self.tokenizer.append(conv(before, width, kernel, steps, padding, bias=False))
            self.tokenizer.extend([nn.ReLU(inplace=True), pool(window, halves, margin)])
            for step in (steps, halves):
                self.grid = tuple(-(-side // n) for side, n in zip(self.grid, step, strict=True))
        if position == "learned":
            self.position = PositionTable(self.grid, dim, std=0.2)
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.blocks = nn.ModuleList(
            CCTBlock(
                dim,
                Attention(dim, heads, dropout=dropout, bias=False),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.sequence_pool = nn.Linear(dim, 1)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, *size) → patches (B, N, D) with positions, no prefix."""
        check_images(images, self.channels, len(self.image_size))
        if images.ndim == 4:
            images = channels_last(images)
        features = Features.from_map(self.tokenizer(images).movedim(1, -1))
        patches = features.patches
        if self.position_kind == "learned":
            patches = patches + self.position(features.grid)
        elif self.position_kind == "sincos":
            patches = patches + sequence_positions(patches.shape[1], self.dim).to(patches)
        return features._replace(patches=self.emb_dropout(patches))

    def pool(self, features: Features) -> Tensor:
        """Features → the mean of the patches (B, D), weighted by a softmax of learned logits."""
        weights = self.sequence_pool(features.patches).softmax(dim=1)
        return (weights.transpose(1, 2) @ features.patches).squeeze(1)

    def init_weights(self) -> None:
        """Initializes every parameter as in the authors' code.

        As `initialize` does, but convolutions start from Kaiming's normal distribution, and
        positions from a standard deviation of 0.2.
        """
        super().init_weights()
        for parameter in self.tokenizer.parameters():
            nn.init.kaiming_normal_(parameter)


def _variant(
    parameters: int, dim: int, depth: int, heads: int, mlp_ratio: int, **more: Any
) -> Variant:
    keywords = {
        "image_size": 32, "num_classes": 10,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": mlp_ratio * dim,
    }  # fmt: skip
    return Variant({**keywords, **more}, parameters)


# Patches of 7 × 7 with stride 2, twice.
LARGE = {"image_size": 224, "patch_size": 7, "stride": 2, "convolutions": 2, "num_classes": 1000}

# Their names: depth, patch size × convolutions, image size.
VARIANTS = {
    "cct_2_3x2_32": _variant(283_723, 128, 2, 2, 1, convolutions=2),
    "cct_4_3x2_32": _variant(482_123, 128, 4, 2, 1, convolutions=2),
    "cct_6_3x1_32": _variant(3_233_803, 256, 6, 4, 2),
    "cct_7_3x1_32": _variant(3_760_139, 256, 7, 4, 2),
    "cct_7_7x2_224": _variant(4_804_521, 256, 7, 4, 2, **LARGE),
    "cct_14_7x2_224": _variant(22_367_273, 384, 14, 6, 3, **LARGE),
    "cct_14_7x2_384": _variant(22_513_193, 384, 14, 6, 3, **{**LARGE, "image_size": 384}),
}
