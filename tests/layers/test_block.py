"""The residual block, LayerScale and stochastic depth."""

import functools

import pytest
import torch
from torch import nn

from vitrail.errors import ConfigError
from vitrail.layers.block import Block, DropPath, LayerScale, drop_path_rates


def test_drop_path_drops_whole_samples_and_keeps_the_expectation() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    x = drop(torch.ones(20_000, 3))
    assert (x[:, :1] == x).all()
    assert x.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert x.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(drop.eval()(torch.ones(2, 3)), torch.ones(2, 3))
    assert drop_path_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_outside_its_range_is_an_error(rate: float) -> None:
    with pytest.raises(ConfigError, match="at least 0 and below 1"):
        DropPath(rate)


def test_a_layer_scale_starts_at_its_initial_value() -> None:
    scale = LayerScale(4, 1e-5)
    assert scale.gamma.tolist() == pytest.approx([1e-5] * 4)
    nn.init.ones_(scale.gamma)
    scale.reset_parameters()
    assert torch.equal(scale(torch.ones(2, 4)), torch.full((2, 4), 1e-5))


def test_a_block_is_two_residual_branches() -> None:
    mixer, mlp = nn.Linear(8, 8).double(), nn.Linear(8, 8).double()
    block = Block(8, mixer, mlp, layer_scale=0.5, norm_eps=1e-3).double()
    with torch.no_grad():
        block.scale2.gamma.fill_(3.0)
    x = torch.randn(2, 5, 8, dtype=torch.double)

    def norm(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(x, (8,), eps=1e-3)

    middle = x + 0.5 * mixer(norm(x))
    expected = middle + 3 * mlp(norm(middle))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


def test_a_block_builds_its_norms_by_the_function_it_gets() -> None:
    norm = functools.partial(nn.LayerNorm, eps=1e-3, bias=False)
    block = Block(8, nn.Identity(), nn.Identity(), norm=norm)
    assert block.norm1.bias is block.norm2.bias is None
    assert block.norm1 is not block.norm2
    assert (block.norm1.eps, block.norm1.normalized_shape) == (1e-3, (8,))
