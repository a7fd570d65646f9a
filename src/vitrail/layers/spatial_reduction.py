"""Attention to a coarser map: as many queries as there are places, but fewer keys and values.

Spatial reduction is PVT's (Wang et al. 2021, https://arxiv.org/abs/2102.12122).
"""

from torch import Tensor, nn

from vitrail.layers.attention import CrossAttention
from vitrail.layers.conv import StridedConvNorm


class ReducedAttention(nn.Module):
    """Every place of a map asks, the places of a coarser map answer.

    `reduce` makes the coarser map, (B, H, W, D) → (B, h, w, D), of the same width; a module that
    changes nothing makes this plain self-attention, which then takes sequences too.
    """

    def __init__(self, dim: int, heads: int, reduce: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.reduce = reduce
        self.attention = CrossAttention(dim, heads, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        context = self.reduce(x)
        attended = self.attention(x.flatten(1, -2), context.flatten(1, -2))
        return attended.view_as(x)


def spatial_reduction(dim: int, ratio: int, norm_eps: float = 1e-5) -> nn.Module:
    """Patches of `ratio` × `ratio` places, each projected to one; of ratio 1, the map as it is."""
    return StridedConvNorm(dim, dim, ratio, ratio, norm_eps=norm_eps) if ratio > 1 else nn.Identity()
