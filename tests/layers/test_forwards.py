"""What inputs that do not fit a layer are answered with: one line that names the layer."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from vitrail import layers
from vitrail.errors import ConfigError
from vitrail.ops.guard import InputError

Z = torch.zeros
LAYERS = {
    name: value
    for name in dir(layers)
    if isinstance(value := getattr(layers, name), type) and issubclass(value, nn.Module)
}
WITHOUT = {"RecordedMixer"}  # a base class


def recorded_mamba() -> layers.Mamba:
    mixer = layers.Mamba(8)
    mixer.recorder = lambda weights: None
    return mixer


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - WITHOUT))
def test_every_forward_of_a_layer_is_guarded(name: str) -> None:
    forward = LAYERS[name].forward
    assert inspect.unwrap(forward) is not forward
    assert inspect.unwrap(forward).__module__.startswith("vitrail.layers.")


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: layers.Attention(8, 2)(Z(1, 4, 9)), "^Attention: mat1 .*4x9.*1, 4, 9.*x .B, N, D"),
        (lambda: layers.Attention(8, 2)(Z(4, 8)), r"^Attention: .*of shape \(4, 8\)"),
        (lambda: layers.Attention(8, 2)(Z(1, 4, 8).long()), "^Attention: .*int64.*torch.float32"),
        (lambda: layers.Attention(8, 2)(Z(1, 4, 8).numpy()), "^Attention: x=.*torch.from_numpy"),
        (lambda: layers.Attention(8, 2)(), "^Attention: missing a required argument: 'x'"),
        (lambda: layers.Attention(8, 2)(Z(1, 4, 8), mask=1), "^Attention has no keyword 'mask'"),
        (lambda: layers.Mamba(8)(Z(1, 4, 9)), r"^Mamba: .*help\(Mamba.forward\)"),
        (lambda: layers.RMSNorm(8)(Z(1, 9)), "^RMSNorm: "),
        (lambda: layers.DepthwiseConv(8)(Z(1, 4, 4, 9)), "^DepthwiseConv: "),
        (lambda: layers.PositionTable((4, 4), 8)(4), "^PositionTable: grid=4"),
        (lambda: layers.LayerScale(4, 1.0)(Z(2, 1)), r"^LayerScale of 4 .*\(2, 1\)"),
        (lambda: layers.DistillationHeads(nn.Linear(4, 1), nn.Linear(4, 2))(Z(2, 4)), "2, 1.*2, 2"),
        (lambda: recorded_mamba()(Z(1, 4, 8), order=torch.arange(2)), "order has 2 .*4 tokens"),
        (lambda: layers.RMSNorm(0), "^RMSNorm: normalized_shape=0"),
        (lambda: layers.LayerNorm(-1), "^LayerNorm: normalized_shape=-1"),
        (lambda: layers.BatchNorm2d(0), "^BatchNorm2d: num_features=0"),
        (lambda: layers.Linear(0, 3), "^Linear: in_features=0"),
        (lambda: layers.GELU("erf"), "^GELU: approximate='erf'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(call: Callable[[], Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_outermost_layer_is_named() -> None:
    block = layers.Block(8, layers.Attention(8, 2), layers.Mlp(9, 8))
    with pytest.raises(InputError, match="^Block: mat1") as caught:
        block(Z(1, 4, 8))
    assert type(caught.value.__cause__) is RuntimeError


def test_errors_of_the_user_s_modules_stay() -> None:
    class Mixer(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="^mine$"):
        layers.Block(8, Mixer(), layers.Mlp(8, 8))(Z(1, 4, 8))


def test_layers_compile_to_one_graph_and_export() -> None:
    block, x = (
        layers.Block(8, layers.Attention(8, 2), layers.Mlp(8, 8)).eval(),
        torch.randn(1, 4, 8),
    )
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), block(x))
    torch.testing.assert_close(torch.export.export(block, (x,)).module()(x), block(x))
