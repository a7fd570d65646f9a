"""Convolutions on feature maps with channels last, (B, H, W, D), as tokens have them.

Permuted to (B, D, H, W), such a map is in PyTorch's memory format `channels_last`: convolutions
read it and return another one like it without a copy.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval

from vitrail.errors import ConfigError, DataError
from vitrail.layers.block import DropPath
from vitrail.layers.inplace import may_overwrite
from vitrail.layers.linear import Linear
from vitrail.layers.norm import BatchNorm2d
from vitrail.ops.guard import guarded, guarded_forward
from vitrail.ops.operator import is_transformed
from vitrail.values import NonNegativeFloat, PositiveFloat, PositiveInt, Range, Rate

Side = Annotated[int, Range(1, 10_000)]  # of filters, and their steps
Padding = Annotated[int, Range(0, 10_000)]


def channels_last(images: Tensor) -> Tensor:
    """Stores images with their channels last, for the convolutions on them.

    Args:
        images: (B, C, H, W).

    Returns:
        The same values; within transforms of torch.func, which cannot, `images` itself.

    Example:
        >>> channels_last(torch.zeros(2, 3, 4, 4)).stride()
        (48, 1, 12, 3)
    """
    return images if is_transformed() else images.contiguous(memory_format=torch.channels_last)


class DepthwiseConv(nn.Conv2d):
    """Depthwise convolution on a feature map (B, H, W, D), padded with zeros.

    Args:
        dim: number of input channels.
        kernel: side of the filters.
        stride: step of the filters.
        dim_out: number of output channels, a multiple of `dim`; None for `dim`, one filter per
            channel.
        bias: whether a bias is added.

    Raises:
        ConfigError: `dim_out` is no multiple of `dim`.

    Example:
        >>> DepthwiseConv(8, stride=2)(torch.zeros(1, 4, 4, 8)).shape
        torch.Size([1, 2, 2, 8])
    """

    @guarded
    def __init__(
        self,
        dim: PositiveInt,
        kernel: Side = 3,
        stride: Side = 1,
        *,
        dim_out: PositiveInt | None = None,
        bias: bool = True,
    ) -> None:
        dim_out = dim_out or dim
        if dim_out % dim:
            raise ConfigError(
                f"{dim_out} output channels of a depthwise convolution are no multiple of its "
                f"{dim} input channels: give a multiple."
            )
        super().__init__(dim, dim_out, kernel, stride, kernel // 2, groups=dim, bias=bias)

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H / stride, W / stride, D)."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ConditionalPosition(DepthwiseConv):
    """The position encoding generator of CPVT (Chu et al. 2021, https://arxiv.org/abs/2102.10882).

    It adds a depthwise convolution of the feature map to the map. Its zero padding tells tokens
    where the edges are.

    Args:
        dim: number of channels.
        kernel: side of the filters.

    Example:
        >>> ConditionalPosition(8)(torch.zeros(1, 4, 4, 8)).shape
        torch.Size([1, 4, 4, 8])
    """

    undecayed: tuple[str, ...] = ("weight",)  # as the authors of Twins

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        return x + super().forward(x)


class StridedConvNorm(nn.Module):
    """Strided convolution and LayerNorm: embeds an image, or a feature map on a coarser grid.

    If the stride equals the kernel, patches do not overlap and there is no padding; pixels that
    remain at the bottom and on the right are not read. Otherwise patches overlap.

    Args:
        dim_in: number of input channels.
        dim: number of output channels.
        kernel: side of a patch.
        stride: distance between patches.
        padding: zeros beyond each edge; None for 0 without overlap and `kernel // 2` with it.
        norm_eps: epsilon of the LayerNorm.

    Example:
        >>> StridedConvNorm(3, 8, kernel=3, stride=2)(torch.zeros(1, 6, 6, 3)).shape
        torch.Size([1, 3, 3, 8])
    """

    @guarded
    def __init__(
        self,
        dim_in: PositiveInt,
        dim: PositiveInt,
        kernel: Side,
        stride: Side,
        *,
        padding: Padding | None = None,
        norm_eps: NonNegativeFloat = 1e-5,
    ) -> None:
        super().__init__()
        if padding is None:
            padding = 0 if kernel == stride else kernel // 2
        self.conv = nn.Conv2d(dim_in, dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / stride, W / stride, D). Raises `DataError` for a small map."""
        kernel, padding = self.conv.kernel_size[0], int(self.conv.padding[0])
        if min(x.shape[1:3]) + 2 * padding < kernel:
            raise DataError(
                f"a feature map of {x.shape[1]} x {x.shape[2]} cells is smaller than the patch of "
                f"{kernel} x {kernel} that reads it: give a larger image."
            )
        # An image with channels first, permuted, is not channels_last in memory, which is slow.
        x = x.contiguous().permute(0, 3, 1, 2)
        return self.norm(self.conv(x).permute(0, 2, 3, 1))


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and activation, on maps with channels first (B, C, H, W).

    Args:
        dim_in: number of input channels.
        dim: number of output channels.
        kernel: side of the filters.
        stride: step of the filters.
        groups: number of groups of channels; `dim_in` for a depthwise convolution.
        padding: zeros beyond each edge; None for `kernel // 2`.
        activation: module after the norm; None for none.
        norm_eps: epsilon of the batch norm.
        bias: whether the convolution has a bias, which the norm subtracts again.

    Example:
        >>> ConvNorm(3, 8, stride=2, activation=nn.ReLU())(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 8, 2, 2])
    """

    @guarded
    def __init__(
        self,
        dim_in: PositiveInt,
        dim: PositiveInt,
        kernel: Side = 3,
        stride: Side = 1,
        *,
        groups: PositiveInt = 1,
        padding: Padding | None = None,
        activation: nn.Module | None = None,
        norm_eps: PositiveFloat = 1e-5,
        bias: bool = False,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(dim_in, dim, kernel, stride, padding, groups=groups, bias=bias)
        self.norm: nn.Module = BatchNorm2d(dim, eps=norm_eps)
        self.activation = nn.Identity() if activation is None else activation

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) → (B, D, H / stride, W / stride)."""
        x = self.conv(x)
        if type(self.norm) is BatchNorm2d:
            x = self.norm(x, overwrite=may_overwrite(self.conv, self.norm))
        else:
            x = self.norm(x)
        return self.activation(x)

    def fuse_for_inference(self) -> None:
        """Folds the batch norm, with its running statistics, into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d) and self.norm.running_mean is not None:
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class LinearNorm(nn.Module):
    """Linear layer without bias, batch norm over all tokens, and activation.

    It does on tokens what a `ConvNorm` with a kernel of 1 does on maps.

    Args:
        dim_in: width of the input.
        dim: width of the output.
        activation: module after the norm; None for none.
        norm_eps: epsilon of the batch norm.

    Example:
        >>> LinearNorm(4, 8)(torch.zeros(2, 5, 4)).shape
        torch.Size([2, 5, 8])
    """

    @guarded
    def __init__(
        self,
        dim_in: PositiveInt,
        dim: PositiveInt,
        *,
        activation: nn.Module | None = None,
        norm_eps: PositiveFloat = 1e-5,
    ) -> None:
        super().__init__()
        self.linear: nn.Linear = Linear(dim_in, dim, bias=False)
        self.norm: nn.Module = nn.BatchNorm1d(dim, eps=norm_eps)
        self.activation = nn.Identity() if activation is None else activation

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (..., C) → (..., D)."""
        x = self.linear(x)
        x = self.norm(x.flatten(0, -2)).view_as(x)
        return self.activation(x)

    def fuse_for_inference(self) -> None:
        """Folds the batch norm, with its running statistics, into the linear layer."""
        if isinstance(self.norm, nn.BatchNorm1d) and self.norm.running_mean is not None:
            self.linear, self.norm = fuse_linear_bn_eval(self.linear, self.norm), nn.Identity()


@guarded
def pad_same(x: Tensor, kernel: PositiveInt, stride: PositiveInt) -> Tensor:
    """Pads a feature map so that ⌈side / stride⌉ kernels fit on each axis, as TensorFlow does.

    Args:
        x: (B, C, H, W).
        kernel: side of the filters that come next.
        stride: their step.

    Returns:
        The map with zeros beyond its edges; of an odd number of rows or columns, the additional
        one is at the bottom or on the right.

    Example:
        >>> pad_same(torch.zeros(1, 8, 4, 4), kernel=3, stride=2).shape
        torch.Size([1, 8, 5, 5])
    """
    totals = [max(kernel - (side % stride or stride), 0) for side in x.shape[2:]]
    (top, bottom), (left, right) = ((total // 2, total - total // 2) for total in totals)
    return F.pad(x, (left, right, top, bottom))


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2017, https://arxiv.org/abs/1709.01507).

    Each channel is multiplied by a gate that two linear layers compute from the means of all
    channels.

    Args:
        dim: number of channels.
        hidden_dim: number of hidden units.

    Example:
        >>> SqueezeExcite(8, 2)(torch.zeros(1, 4, 4, 8)).shape
        torch.Size([1, 4, 4, 8])
    """

    @guarded
    def __init__(self, dim: PositiveInt, hidden_dim: PositiveInt) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim)
        self.activation = nn.SiLU()
        self.fc2 = Linear(hidden_dim, dim)
        self.gate = nn.Sigmoid()

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        mean = x.mean(dim=(1, 2), keepdim=True)
        return x * self.gate(self.fc2(self.activation(self.fc1(mean))))


class MBConv(nn.Module):
    """The inverted residual block of MobileNetV2 (Sandler et al. 2018,
    https://arxiv.org/abs/1801.04381), in MaxViT's form.

    A linear layer widens the channels four times, a depthwise convolution filters them,
    squeeze-and-excitation with `dim // 4` hidden units weights them, and a linear layer narrows
    them. There is a batch norm before and none after. The shortcut is average-pooled if the stride
    is above 1, and projected if the number of channels changes.

    Args:
        dim_in: number of input channels.
        dim: number of output channels.
        stride: step of the depthwise convolution.
        activation: module after the widening layer and after the convolution.
        drop_path: rate of stochastic depth.
        norm_eps: epsilon of the batch norms.

    Example:
        >>> MBConv(4, 8, stride=2, activation=nn.GELU())(torch.zeros(2, 4, 4, 4)).shape
        torch.Size([2, 2, 2, 8])
    """

    @guarded
    def __init__(
        self,
        dim_in: PositiveInt,
        dim: PositiveInt,
        stride: Side = 1,
        *,
        activation: nn.Module,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-3,
    ) -> None:
        super().__init__()
        self.stride = stride
        hidden_dim = 4 * dim
        self.norm = nn.BatchNorm2d(dim_in, eps=norm_eps)
        self.widen = LinearNorm(dim_in, hidden_dim, activation=activation, norm_eps=norm_eps)
        self.filter = ConvNorm(
            hidden_dim,
            hidden_dim,
            3,
            stride,
            groups=hidden_dim,
            padding=None if stride == 1 else 0,
            activation=activation,
            norm_eps=norm_eps,
        )
        self.excite = SqueezeExcite(hidden_dim, dim // 4)
        self.narrow = Linear(hidden_dim, dim)
        self.shortcut = nn.Identity() if dim_in == dim else Linear(dim_in, dim)
        self.drop_path = DropPath(drop_path)

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) → (B, H / stride, W / stride, D)."""
        image = x.permute(0, 3, 1, 2)
        hidden = self.widen(self.norm(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if self.stride > 1:
            hidden = pad_same(hidden, 3, self.stride)
            x = F.avg_pool2d(image, self.stride, ceil_mode=True).permute(0, 2, 3, 1)
        hidden = self.filter(hidden).permute(0, 2, 3, 1)
        return self.shortcut(x) + self.drop_path(self.narrow(self.excite(hidden)))
