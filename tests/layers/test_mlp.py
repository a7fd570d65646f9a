"""The feed-forward layer and its activations."""

import torch
import torch.nn.functional as F
from torch import nn

from vitrail.layers.mlp import ACTIVATIONS, Mlp


def test_the_mlp_is_the_same_with_and_without_gradients() -> None:
    mlp = Mlp(8, 16)
    x = torch.randn(2, 3, 8)
    expected = mlp.fc2(F.gelu(mlp.fc1(x)))
    before = x.clone()
    assert torch.equal(mlp(x), expected)
    with torch.no_grad():
        assert torch.equal(mlp(x), expected)
    assert torch.equal(x, before)
    outputs = []
    mlp.fc1.register_forward_hook(lambda *call: outputs.append(call[2]))
    with torch.no_grad():
        mlp(x)
    assert torch.equal(outputs[0], mlp.fc1(x)), "what a hook stored was overwritten"


def test_activations_are_those_of_their_names() -> None:
    x = torch.linspace(-4, 4, 33, dtype=torch.double)
    expected = {
        "gelu": F.gelu(x),
        "quick_gelu": x * torch.sigmoid(1.702 * x),
        "gelu_tanh": F.gelu(x, approximate="tanh"),
    }
    assert ACTIVATIONS.keys() == expected.keys()
    for name, y in expected.items():
        torch.testing.assert_close(ACTIVATIONS[name]()(x), y, rtol=0, atol=1e-12)


def test_another_activation_is_called_too() -> None:
    mlp, x = Mlp(8, 16, activation=nn.ReLU()), torch.randn(2, 8)
    with torch.no_grad():
        assert torch.equal(mlp(x), mlp.fc2(mlp.fc1(x).relu()))
