"""Spatial-reduction attention (PVT, Wang et al. 2021, https://arxiv.org/abs/2102.12122)."""

from torch import Tensor, nn

from vitrail.layers.attention import CrossAttention
from vitrail.layers.conv import StridedConvNorm
from vitrail.ops.guard import guarded, guarded_forward
from vitrail.values import NonNegativeFloat, PositiveInt, Rate


class ReducedAttention(nn.Module):
    """Attention with queries from a full feature map, and keys and values from a reduced one.

    Args:
        dim: number of channels.
        heads: number of heads, a divisor of `dim`.
        reduce: module from the map (B, H, W, D) to a coarser one (B, h, w, D). With `nn.Identity`
            this is self-attention, which takes sequences (B, N, D) too.
        dropout: dropout rate of the attention weights and of the output.

    Raises:
        ConfigError: `heads` does not divide `dim`.

    Example:
        >>> mixer = ReducedAttention(8, heads=2, reduce=spatial_reduction(8, 2))
        >>> mixer(torch.zeros(1, 4, 4, 8)).shape
        torch.Size([1, 4, 4, 8])
    """

    @guarded
    def __init__(
        self, dim: PositiveInt, heads: PositiveInt, reduce: nn.Module, dropout: Rate = 0.0
    ) -> None:
        super().__init__()
        self.reduce = reduce
        self.attention = CrossAttention(dim, heads, dropout=dropout)

    @property
    def last_linear(self) -> nn.Linear:
        """The linear layer whose output, after dropout, is the module's."""
        return self.attention.last_linear

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        context = self.reduce(x)
        attended = self.attention(x.flatten(1, -2), context.flatten(1, -2))
        return attended.view_as(x)


@guarded
def spatial_reduction(
    dim: PositiveInt, ratio: PositiveInt, norm_eps: NonNegativeFloat = 1e-5
) -> nn.Module:
    """PVT's reduction of a feature map: a strided convolution and a LayerNorm.

    Args:
        dim: number of channels.
        ratio: side of the patches, ratio × ratio cells, that are projected to one cell each.
        norm_eps: epsilon of the LayerNorm.

    Returns:
        A module from (B, H, W, D) to (B, H / ratio, W / ratio, D); `nn.Identity` for a ratio of 1.

    Example:
        >>> spatial_reduction(8, 2)(torch.zeros(1, 4, 4, 8)).shape
        torch.Size([1, 2, 2, 8])
    """
    if ratio == 1:
        return nn.Identity()
    return StridedConvNorm(dim, dim, ratio, ratio, norm_eps=norm_eps)
