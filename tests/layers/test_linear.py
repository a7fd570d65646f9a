"""The linear layer beside PyTorch's."""

import torch
from torch import nn

from vitrail.layers.linear import Linear, scale_outputs


def test_parameters_and_initial_values_are_pytorchs() -> None:
    torch.manual_seed(0)
    ours = Linear(6, 4)
    torch.manual_seed(0)
    theirs = nn.Linear(6, 4)
    assert isinstance(ours, nn.Linear)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(
        torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
    )


def test_scaled_outputs_are_the_outputs_scaled() -> None:
    layer, factors = nn.Linear(3, 4).double(), torch.randn(4, dtype=torch.double)
    x = torch.randn(5, 3, dtype=torch.double)
    expected = layer(x) * factors
    scale_outputs(layer, factors)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-14)
