"""PVT v2: "PVT v2: Improved Baselines with Pyramid Vision Transformer" (Wang et al. 2021,
https://arxiv.org/abs/2106.13797).

    image (B, C, H, W)
      └ patches of 7 × 7 pixels, 4 apart, + norm ─ map (B, H/4, W/4, D₁)
          └ stage 1: depth × Block(ReducedAttention, Mlp with convolution) ─ norm
              └ stages 2 to 4: patches of 3 × 3 places, 2 apart ─ (B, H/8, W/8, D₂) ─ blocks, ...
                  └ norm ─ mean over places ─ (B, D₄) ─ head ─ (B, classes)

Differs from PVT: patches overlap, a depthwise convolution within the MLPs tells places where they
are (by the zeros beyond the edges), so there are no learned positions and any size will do, and no
class token. With `linear` (b2_li) keys and values are read off a map that is averaged to 7 × 7
places whatever the image, so that attention costs no more than linearly.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import DepthwiseConv, StridedConvNorm
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images
from vitrail.layers.spatial_reduction import ReducedAttention, spatial_reduction
from vitrail.models.base import Features, PyramidBackbone, PyramidStage, Variant
from vitrail.models.paper import Paper


class PooledReduction(StridedConvNorm):
    """A map averaged to 7 × 7 places, each projected: the paper's linear spatial reduction."""

    def __init__(self, dim: int, norm_eps: float) -> None:
        super().__init__(dim, dim, 1, 1, norm_eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, 7, 7, D)."""
        pooled = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 7)
        return F.gelu(super().forward(pooled.permute(0, 2, 3, 1)))


class ConvGELU(DepthwiseConv):
    """A depthwise convolution, then GELU. `rectify`: and a ReLU before both."""

    def __init__(self, dim: int, rectify: bool) -> None:
        super().__init__(dim)
        self.rectify = rectify

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        x = super().forward(F.relu(x) if self.rectify else x)
        return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


class NormStage(PyramidStage):
    """A stage with a norm of its own at its end."""

    def __init__(self, downsample: nn.Module, blocks: list[nn.Module], norm: nn.Module) -> None:
        super().__init__(downsample, blocks)
        self.norm = norm

    def forward(self, features: Features) -> Features:
        """Features on a grid → normalised Features on this stage's."""
        features = super().forward(features)
        return features._replace(patches=self.norm(features.patches))


class PVTv2(PyramidBackbone):
    """A Pyramid Vision Transformer, version 2.

    Args:
        dim, depth, heads, reduction, mlp_ratio: width, blocks, attention heads, how much coarser
            the map is that keys and values are read off, and hidden width of the MLPs over that of
            their stage; one number for each stage.
        linear: that map is averaged to 7 × 7 places instead, and MLPs have a ReLU more.
        dropout: on attention weights, projections and MLPs. The rest as in `ViT`. Images of any
            size.
        reduce_eps: of the norms after patches and reductions. transformers' weights need 1e-6.
    """

    paper = Paper(
        "PVT v2: Improved Baselines with Pyramid Vision Transformer",
        "Wang et al.",
        2021,
        "https://arxiv.org/abs/2106.13797",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        num_classes: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        reduction: tuple[int, ...] = (8, 4, 2, 1),
        mlp_ratio: tuple[float, ...] = (8, 8, 4, 4),
        linear: bool = False,
        channels: int = 3,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
        reduce_eps: float = 1e-5,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.dim, self.grid = tuple(dim), tuple(-(-side // 4) for side in self.image_size)
        self.strides = tuple(4 * 2**i for i in range(len(depth)))

        def reduce(width: int, ratio: int) -> nn.Module:
            if linear:
                return PooledReduction(width, reduce_eps)
            return spatial_reduction(width, ratio, reduce_eps)

        self.patch_embed = StridedConvNorm(channels, dim[0], 7, 4, norm_eps=reduce_eps)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages = []
        for i, width in enumerate(dim):
            hidden = int(mlp_ratio[i] * width)
            blocks: list[nn.Module] = [
                Block(
                    width,
                    ReducedAttention(width, heads[i], reduce(width, reduction[i]), dropout),
                    Mlp(width, hidden, dropout, activation=ConvGELU(hidden, rectify=linear)),
                    drop_path=next(rates),
                    norm_eps=norm_eps,
                )
                for _ in range(depth[i])
            ]
            first = (
                StridedConvNorm(dim[i - 1], width, 3, 2, norm_eps=reduce_eps)
                if i
                else nn.Identity()
            )
            last = i == len(dim) - 1  # its norm is the model's
            norm = nn.Identity() if last else nn.LayerNorm(width, eps=norm_eps)
            stages.append(NormStage(first, blocks, norm))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix."""
        check_images(images, self.channels)
        return Features.from_map(self.patch_embed(images.permute(0, 2, 3, 1)))


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
    "pvt_v2_b2_li": _variant(22_553_512, (3, 4, 6, 3), linear=True),
    "pvt_v2_b3": _variant(45_238_696, (3, 4, 18, 3)),
    "pvt_v2_b4": _variant(62_556_072, (3, 8, 27, 3)),
    "pvt_v2_b5": _variant(81_956_008, (3, 6, 40, 3), mlp_ratio=(4, 4, 4, 4)),
}
