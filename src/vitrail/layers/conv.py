"""Convolutions on maps that lie with channels last, (B, H, W, D), as tokens do.

Seen as (B, D, H, W) such a map is what PyTorch calls channels_last: convolutions take it and give
one like it, without a copy.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, DataError
from vitrail.layers.block import DropPath
from vitrail.layers.linear import Linear
from vitrail.ops.linear import linear


class DepthwiseConv(nn.Conv2d):
    """One filter a channel, on a map (B, H, W, D); zeros beyond the edges.

    `dim_out`: a multiple of `dim`, for several filters a channel.
    """

    def __init__(
        self,
        dim: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        dim_out: int | None = None,
        bias: bool = True,
    ) -> None:
        dim_out = dim_out or dim
        if dim_out % dim:
            raise ConfigError(f"a width of {dim_out} is not a multiple of the one before, {dim}.")
        super().__init__(dim, dim_out, kernel, stride, kernel // 2, groups=dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H / stride, W / stride, D)."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ConditionalPosition(DepthwiseConv):
    """x plus a depthwise convolution of x: each token is told of its neighbours, and of the edges.

    The position encoding generator of CPVT (Chu et al. 2021, https://arxiv.org/abs/2102.10882).
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        return x + super().forward(x)


class StridedConvNorm(nn.Module):
    """A map on a coarser grid: a convolution with a stride, then a LayerNorm.

    Patches of `kernel` × `kernel` places: side by side where that is the stride too, and what is
    left over at the far edges is not seen; else they overlap, with `padding` zeros beyond the
    edges, `kernel // 2` if None.
    """

    def __init__(
        self,
        dim_in: int,
        dim: int,
        kernel: int,
        stride: int,
        *,
        padding: int | None = None,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if padding is None:
            padding = 0 if kernel == stride else kernel // 2
        self.conv = nn.Conv2d(dim_in, dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / stride, W / stride, D)."""
        kernel, padding = self.conv.kernel_size[0], int(self.conv.padding[0])
        if min(x.shape[1:3]) + 2 * padding < kernel:
            raise DataError(
                f"a map of {x.shape[1]} x {x.shape[2]} places is smaller than the patch of "
                f"{kernel} x {kernel} that reads it: give a larger image."
            )
        x = x.contiguous().permute(0, 3, 1, 2)  # an image seen as a map lies otherwise, and is slow
        return self.norm(self.conv(x).permute(0, 2, 3, 1))


def folded(weight: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The weight and the bias of a layer that does what `weight` and then `norm` do in evaluation.

    What no longer learns from its batch is linear: a pass over the map less.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
    bias = norm.bias - norm.running_mean * factor
    return weight * factor.view(-1, *[1] * (weight.ndim - 1)), bias


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and an activation, on maps with channels first (B, C, H, W).

    `padding`: zeros beyond the edges, `kernel // 2` if None. No bias, for the norm takes it away.
    """

    def __init__(
        self,
        dim_in: int,
        dim: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        padding: int | None = None,
        activation: nn.Module | None = None,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(dim_in, dim, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(dim, eps=norm_eps)
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) → (B, D, H / stride, W / stride)."""
        conv = self.conv
        if self.training:
            x = self.norm(conv(x))
        else:
            weight, bias = folded(conv.weight, self.norm)
            x = F.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)
        return self.activation(x)


class LinearNorm(nn.Module):
    """`ConvNorm` of kernel 1 on tokens: linear layer, batch norm over all tokens, activation."""

    def __init__(
        self,
        dim_in: int,
        dim: int,
        *,
        activation: nn.Module | None = None,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.linear = Linear(dim_in, dim, bias=False)
        self.norm = nn.BatchNorm1d(dim, eps=norm_eps)
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, x: Tensor) -> Tensor:
        """x (..., C) → (..., D)."""
        if self.training:
            x = self.linear(x)
            x = self.norm(x.flatten(0, -2)).view_as(x)
        else:
            x = linear(x, *folded(self.linear.weight, self.norm))
        return self.activation(x)


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """x (B, C, H, W) with zeros beyond its edges, so that ⌈side / stride⌉ kernels fit on each axis.

    As TensorFlow has it: an odd number puts the one more below or on the right.
    """
    sides = [max(kernel - (s % stride or stride), 0) for s in x.shape[2:]]
    (above, below), (left, right) = ((s // 2, s - s // 2) for s in sides)
    return F.pad(x, (left, right, above, below))


class SqueezeExcite(nn.Module):
    """Each channel times a gate that knows the means of all (Hu et al. 2017,
    https://arxiv.org/abs/1709.01507).
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        mean = x.mean(dim=(1, 2), keepdim=True)
        return x * self.fc2(F.silu(self.fc1(mean))).sigmoid()


class MBConv(nn.Module):
    """Widen, filter each channel, let the whole map excite channels, narrow; beside a shortcut.

    MobileNetV2's (Sandler et al. 2018, https://arxiv.org/abs/1801.04381) as MaxViT has it: a norm
    before, none after, four times `dim` within and a quarter of it for the excitation, and a
    shortcut that is averaged and projected where the shape changes.
    """

    def __init__(
        self,
        dim_in: int,
        dim: int,
        stride: int = 1,
        *,
        activation: nn.Module,
        drop_path: float = 0.0,
        norm_eps: float = 1e-3,
    ) -> None:
        super().__init__()
        self.stride = stride
        hidden = 4 * dim
        self.norm = nn.BatchNorm2d(dim_in, eps=norm_eps)
        self.widen = LinearNorm(dim_in, hidden, activation=activation, norm_eps=norm_eps)
        self.filter = ConvNorm(
            hidden,
            hidden,
            3,
            stride,
            groups=hidden,
            padding=None if stride == 1 else 0,
            activation=activation,
            norm_eps=norm_eps,
        )
        self.excite = SqueezeExcite(hidden, dim // 4)
        self.narrow = Linear(hidden, dim)
        self.shortcut = nn.Identity() if dim_in == dim else Linear(dim_in, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / stride, W / stride, D)."""
        image = x.permute(0, 3, 1, 2)
        hidden = self.widen(self.norm(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if self.stride > 1:
            hidden = pad_same(hidden, 3, self.stride)
            x = F.avg_pool2d(image, self.stride, ceil_mode=True).permute(0, 2, 3, 1)
        hidden = self.filter(hidden).permute(0, 2, 3, 1)
        return self.shortcut(x) + self.drop_path(self.narrow(self.excite(hidden)))
