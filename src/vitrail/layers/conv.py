"""Convolutions on maps that lie with channels last, (B, H, W, D), as tokens do.

Seen as (B, D, H, W) such a map is what PyTorch calls channels_last: convolutions take it and give
one like it, without a copy.
"""

from torch import Tensor, nn


class DepthwiseConv(nn.Conv2d):
    """One filter a channel, on a map (B, H, W, D); zeros beyond the edges."""

    def __init__(self, dim: int, kernel: int = 3, stride: int = 1, *, bias: bool = True) -> None:
        super().__init__(dim, dim, kernel, stride, kernel // 2, groups=dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H / stride, W / stride, D)."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and an activation, on maps with channels first (B, C, H, W).

    `kernel // 2` zeros beyond the edges; no bias, which the norm would take away again.
    """

    def __init__(
        self,
        dim_in: int,
        dim: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        activation: nn.Module | None = None,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        padding = kernel // 2
        self.conv = nn.Conv2d(dim_in, dim, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(dim, eps=norm_eps)
        if activation is not None:
            self.activation = activation
