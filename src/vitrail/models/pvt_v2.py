"""PVT v2: "PVT v2: Improved Baselines with Pyramid Vision Transformer" (Wang et al. 2021,
https://arxiv.org/abs/2106.13797).

    image (B, C, H, W)
      └ patches of 7 × 7 pixels, stride 4, + norm ─ map (B, H/4, W/4, D₁)
          └ stage 1: depth × Block(ReducedAttention, Mlp with convolution) ─ norm
              └ stages 2 to 4: patches of 3 × 3 positions, stride 2 ─ (B, H/8, W/8, D₂) ─ blocks
                  └ norm ─ mean over positions ─ (B, D₄) ─ head ─ (B, classes)

Differs from PVT: patches overlap. A depthwise convolution within the MLPs encodes positions by its
zero padding, so there are no learned positions and any image size works, and no class token. With
`linear_attention` (b2_li) keys and values come from a map that is averaged to 7 × 7 whatever the
image, so that the cost of attention grows only linearly with the image.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import DepthwiseConv, StridedConvNorm
from vitrail.layers.inplace import overwriting_is_safe
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images
from vitrail.layers.pyramid import check_stages
from vitrail.layers.spatial_reduction import ReducedAttention, spatial_reduction
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.initial import fan_out_convolutions
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidBackbone, PyramidStage
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class PooledReduction(StridedConvNorm):
    """The paper's linear spatial reduction: a map averaged to 7 × 7, projected, norm and GELU.

    Args:
        dim: number of channels.
        norm_eps: epsilon of the LayerNorm.

    Example:
        >>> PooledReduction(8, 1e-5)(torch.zeros(1, 9, 10, 8)).shape
        torch.Size([1, 7, 7, 8])
    """

    def __init__(self, dim: int, norm_eps: float) -> None:
        super().__init__(dim, dim, 1, 1, norm_eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, 7, 7, D)."""
        pooled = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 7)
        return F.gelu(super().forward(pooled.permute(0, 2, 3, 1)))


class ConvGELU(DepthwiseConv):
    """A depthwise convolution, then GELU: the activation of PVT v2's MLPs.

    Args:
        dim: number of channels.

    Example:
        >>> ConvGELU(8)(torch.zeros(1, 3, 4, 8)).shape
        torch.Size([1, 3, 4, 8])
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        x = super().forward(x)
        return torch.ops.aten.gelu_(x) if overwriting_is_safe() else F.gelu(x)


class RectifiedConvGELU(ConvGELU):
    """ReLU, a depthwise convolution, then GELU: the activation beside linear attention.

    Args:
        dim: number of channels.

    Example:
        >>> RectifiedConvGELU(8)(torch.zeros(1, 3, 4, 8)).shape
        torch.Size([1, 3, 4, 8])
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        return super().forward(F.relu(x))


class NormStage(PyramidStage):
    """A stage with a norm of its own at its end.

    Args:
        downsample: module from (B, H, W, C) to (B, H', W', D).
        blocks: modules from (B, H', W', D) to the same shape.
        norm: the norm of tokens of width D.

    Example:
        >>> stage = NormStage(nn.Identity(), [nn.Linear(8, 8)], nn.LayerNorm(8))
        >>> stage(Features.from_map(torch.zeros(1, 2, 3, 8))).grid
        (2, 3)
    """

    def __init__(self, downsample: nn.Module, blocks: list[nn.Module], norm: nn.Module) -> None:
        super().__init__(downsample, blocks)
        self.norm = norm

    def forward(self, features: Features) -> Features:
        """Features on a grid → normalized Features on this stage's."""
        features = super().forward(features)
        return features._replace(patches=self.norm(features.patches))


class PVTv2(PyramidBackbone):
    """Pyramid Vision Transformer, version 2 (Wang et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Any size works.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, per stage.
        depth: number of blocks, per stage.
        heads: number of attention heads, per stage.
        reduction: per stage, how much coarser the map of keys and values is on each axis.
        mlp_ratio: per stage, hidden width of an MLP divided by the width of the stage.
        linear_attention: whether keys and values come from a map averaged to 7 × 7 instead, and
            MLPs have a ReLU before their convolution.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of the LayerNorms of blocks and at the end of stages.
        reduce_eps: epsilon of the LayerNorms after patches and reductions. transformers' weights
            need 1e-6.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.

    Example:
        >>> model = PVTv2(16, num_classes=5, dim=(8, 16), depth=(1, 1), heads=(1, 2),
        ...     reduction=(2, 1), mlp_ratio=(2, 2))
        >>> model(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "PVT v2: Improved Baselines with Pyramid Vision Transformer",
        "Wang et al.",
        2021,
        "https://arxiv.org/abs/2106.13797",
        change="PVT with overlapping patches and convolutions in its MLPs.",
    )

    def __init__(
        self,
        image_size: Size,
        num_classes: NonNegativeInt,
        dim: tuple[PositiveInt, ...],
        depth: tuple[PositiveInt, ...],
        heads: tuple[PositiveInt, ...],
        reduction: tuple[PositiveInt, ...] = (8, 4, 2, 1),
        mlp_ratio: tuple[PositiveFloat, ...] = (8, 8, 4, 4),
        linear_attention: bool = False,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
        reduce_eps: PositiveFloat = 1e-5,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_stages(dim=dim, depth=depth, heads=heads, reduction=reduction, mlp_ratio=mlp_ratio)
        self.dim, self.grid = dim, tuple(-(-side // 4) for side in self.image_size)
        self.strides = tuple(4 * 2**i for i in range(len(depth)))
        activation = RectifiedConvGELU if linear_attention else ConvGELU

        def make_block(stage: int, rate: float) -> Block:
            width = dim[stage]
            hidden = int(mlp_ratio[stage] * width)
            if linear_attention:
                reduce: nn.Module = PooledReduction(width, reduce_eps)
            else:
                reduce = spatial_reduction(width, reduction[stage], reduce_eps)
            return Block(
                width,
                ReducedAttention(width, heads[stage], reduce, dropout),
                Mlp(width, hidden, dropout, activation=activation(hidden)),
                drop_path=rate,
                norm_eps=norm_eps,
            )

        self.patch_embed = StridedConvNorm(channels, dim[0], 7, 4, norm_eps=reduce_eps)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages = []
        for i, width in enumerate(dim):
            downsample: nn.Module = nn.Identity()
            if i:
                downsample = StridedConvNorm(dim[i - 1], width, 3, 2, norm_eps=reduce_eps)
            blocks: list[nn.Module] = [make_block(i, next(rates)) for _ in range(depth[i])]
            last = i == len(dim) - 1  # its norm is the model's
            norm = nn.Identity() if last else nn.LayerNorm(width, eps=norm_eps)
            stages.append(NormStage(downsample, blocks, norm))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix."""
        check_images(images, self.channels)
        return Features.from_map(self.patch_embed(images.permute(0, 2, 3, 1)))

    def block_modules(self) -> list[list[nn.Module]]:
        """The modules of each layer: one per block; a stage's norm belongs to its last block."""
        layers, end = super().block_modules(), 0
        for stage in self.blocks:
            assert isinstance(stage, NormStage)
            end += len(stage.blocks)
            layers[end - 1].append(stage.norm)  # a later layer than the base's, which counts
        return layers

    def init_weights(self) -> None:
        """Initializes linear layers from std 0.02 and convolutions by fan-out, as the authors."""
        super().init_weights()
        fan_out_convolutions(self)


def _variant(parameters: int, depth: tuple[int, ...], width: int = 64, **more: Any) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": 224, "num_classes": 1000,
        "dim": (width, 2 * width, 5 * width, 8 * width), "depth": depth, "heads": (1, 2, 5, 8),
    }  # fmt: skip
    return Variant({**keywords, **more}, parameters)


VARIANTS = {
    "pvt_v2_b0": _variant(3_666_760, (2, 2, 2, 2), 32),
    "pvt_v2_b1": _variant(14_009_000, (2, 2, 2, 2)),
    "pvt_v2_b2": _variant(25_362_856, (3, 4, 6, 3)),
    "pvt_v2_b2_li": _variant(22_553_512, (3, 4, 6, 3), linear_attention=True),
    "pvt_v2_b3": _variant(45_238_696, (3, 4, 18, 3)),
    "pvt_v2_b4": _variant(62_556_072, (3, 8, 27, 3)),
    "pvt_v2_b5": _variant(81_956_008, (3, 6, 40, 3), mlp_ratio=(4, 4, 4, 4)),
}
