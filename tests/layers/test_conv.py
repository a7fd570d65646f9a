"""Convolutions on maps, and norms that can be folded into them."""

import pytest
import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, DataError
from vitrail.layers.conv import (
    ConditionalPosition,
    ConvNorm,
    DepthwiseConv,
    LinearNorm,
    MBConv,
    SqueezeExcite,
    StridedConvNorm,
    pad_same,
)


def unsettled(module: nn.Module) -> nn.Module:
    """The module in float64 and evaluation, its batch norms with statistics of a data set."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return module.double().eval()


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (ConvNorm(4, 6, 3, 2, activation=nn.SiLU()), (2, 4, 7, 7)),
        (ConvNorm(4, 4, 3, groups=4, bias=True), (2, 4, 5, 5)),
        (LinearNorm(4, 6, activation=nn.Hardswish()), (2, 5, 4)),
    ],
)
def test_a_folded_norm_gives_the_same(module: nn.Module, shape: tuple[int, ...]) -> None:
    module, x = unsettled(module), torch.randn(shape, dtype=torch.double)
    product = module.conv if isinstance(module, ConvNorm) else module.linear
    axes = (1, -1, 1, 1) if isinstance(module, ConvNorm) else (-1,)
    norm = module.norm
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).view(axes)
    centered = product(x) - norm.running_mean.view(axes)
    expected = module.activation(centered * factor + norm.bias.view(axes))
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)
    module.fuse_for_inference()
    module.fuse_for_inference()  # the second time there is nothing to fold
    assert isinstance(module.norm, nn.Identity)
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("module", "x"),
    [
        (ConvNorm(4, 6, activation=nn.ReLU()), torch.randn(2, 4, 5, 5)),
        (LinearNorm(4, 6, activation=nn.ReLU()), torch.randn(2, 5, 4)),
        (StridedConvNorm(4, 6, 3, 2), torch.randn(2, 5, 5, 4)),
        (SqueezeExcite(4, 2), torch.randn(2, 5, 5, 4)),
        (MBConv(4, 8, 2, activation=nn.GELU()), torch.randn(2, 6, 6, 4)),
    ],
)
def test_every_module_is_called(module: nn.Module, x: Tensor, training: bool, grad: bool) -> None:
    called: set[nn.Module] = set()
    hooks = [
        m.register_forward_hook(lambda m, *_: called.add(m))
        for m in module.train(training).modules()
    ]
    with torch.set_grad_enabled(grad):
        module(x)
    for hook in hooks:
        hook.remove()
    assert called == set(module.modules())


def test_squeeze_excite_weights_channels_by_their_means() -> None:
    module, x = SqueezeExcite(4, 2).double(), torch.randn(2, 3, 5, 4, dtype=torch.double)
    mean = x.mean((1, 2))
    gate = module.fc2(nn.functional.silu(module.fc1(mean))).sigmoid()
    torch.testing.assert_close(module(x), x * gate[:, None, None], rtol=0, atol=1e-12)


def test_a_depthwise_convolution_has_a_multiple_of_its_channels() -> None:
    assert DepthwiseConv(4, dim_out=8)(torch.zeros(1, 3, 3, 4)).shape == (1, 3, 3, 8)
    with pytest.raises(ConfigError, match="6 output channels .* no multiple of its 4"):
        DepthwiseConv(4, dim_out=6)


def test_a_conditional_position_is_added() -> None:
    module, x = ConditionalPosition(4), torch.randn(1, 3, 3, 4)
    assert torch.equal(module(x), x + DepthwiseConv.forward(module, x))


def test_a_map_smaller_than_the_patch_is_an_error() -> None:
    with pytest.raises(DataError, match="3 x 3 cells is smaller than the patch of 4 x 4"):
        StridedConvNorm(3, 8, 4, 4)(torch.zeros(1, 3, 3, 3))


def test_padding_is_tensorflows() -> None:
    padded = pad_same(torch.ones(1, 1, 4, 5), kernel=3, stride=2)
    assert padded.shape == (1, 1, 5, 7)
    assert padded[0, 0, -1].sum() == 0  # the odd row is at the bottom
    assert padded[0, 0, 0].sum() == 5
