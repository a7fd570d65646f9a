"""Where the layers drop: which tensors, with which rate, and never in evaluation."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.attention import Attend, Attention, CrossAttention
from vitrail.layers.block import Block, DropPath, drop_path_rates
from vitrail.layers.mlp import Mlp


class Shapes(nn.Module):
    """Stands in for a dropout and notes the shapes of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        return x


def test_an_mlp_drops_hidden_units_and_outputs() -> None:
    mlp = Mlp(8, 16, dropout=0.3)
    assert mlp.dropout.p == 0.3
    mlp.dropout = Shapes()
    mlp(torch.zeros(2, 5, 8))
    assert mlp.dropout.shapes == [(2, 5, 16), (2, 5, 8)]


@pytest.mark.parametrize(
    ("mixer", "inputs"),
    [(Attention(8, 2, dropout=0.3), 1), (CrossAttention(8, 2, dropout=0.3), 2)],
)
def test_attention_drops_weights_and_outputs(
    mixer: nn.Module, inputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    original: Callable[..., Tensor] = F.scaled_dot_product_attention

    def noted(*tensors: Tensor, dropout_p: float, **more: object) -> Tensor:
        rates.append(dropout_p)
        return original(*tensors, dropout_p=dropout_p, **more)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    assert mixer.dropout.p == 0.3
    mixer.dropout = Shapes()
    for training in (True, False):
        mixer.train(training)(*[torch.zeros(2, 5, 8)] * inputs)
    assert rates == [0.3, 0.0]
    assert mixer.dropout.shapes == [(2, 5, 8)] * 2


def test_unfused_attention_drops_as_many_weights() -> None:
    attend = Attend(0.25, after=nn.Identity())
    q, k = torch.zeros(2, 1, 1, 100, 4)
    v = torch.eye(100)[None, None]  # then the output is the weights, each 0.01
    weights = attend(q, k, v)
    dropped = weights == 0
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(weights[~dropped], torch.full_like(weights[~dropped], 0.01 / 0.75))
    torch.testing.assert_close(attend.eval()(q, k, v), torch.full((1, 1, 100, 100), 0.01))


def test_drop_path_drops_whole_samples_and_scales_the_rest() -> None:
    x = torch.ones(4000, 3, 2)
    y = DropPath(0.25)(x)
    per_sample = y.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    assert set(per_sample[:, 0].tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert (per_sample[:, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert DropPath(0.25).eval()(x) is x


def test_a_block_drops_both_branches() -> None:
    block = Block(8, nn.Identity(), nn.Identity(), drop_path=0.5)
    assert block.drop_path.rate == 0.5
    block.drop_path = Shapes()
    block(torch.zeros(2, 5, 8))
    assert block.drop_path.shapes == [(2, 5, 8)] * 2


def test_rates_rise_linearly_to_the_last_block() -> None:
    assert drop_path_rates(0.4, 5) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert drop_path_rates(0.4, 1) == [0.0]
