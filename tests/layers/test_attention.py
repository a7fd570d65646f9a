"""Attention against its formula, and what the recorder gets."""

import pytest
import torch
from torch import nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attend, Attention, CrossAttention, divide


def test_attend_equals_the_formula_and_the_recorder_gets_its_weights() -> None:
    q, k, v = torch.randn(3, 2, 4, 9, 8, dtype=torch.double)
    bias = torch.randn(9, 9, dtype=torch.double)
    expected = (q @ k.mT / 8**0.5 + bias).softmax(-1)
    attend, recorded = Attend(), []
    unrecorded = attend(q, k, v, bias)
    attend.recorder = recorded.append
    assert torch.equal(attend(q, k, v, bias), unrecorded)
    torch.testing.assert_close(unrecorded, expected @ v, rtol=0, atol=1e-12)
    torch.testing.assert_close(recorded[0], expected, rtol=0, atol=1e-12)


def test_qk_norm_bounds_the_logits() -> None:
    attention = Attention(16, 2, qk_norm=True).double()
    x = torch.randn(1, 5, 16, dtype=torch.double)
    recorded = []
    attention.attend.tap = recorded.append
    attention(x), attention(1000 * x)
    # Normalised heads have length sqrt(8), so logits lie within ±sqrt(8).
    assert all((w.log().diff(dim=-1).abs() <= 2 * 8**0.5 + 1e-6).all() for w in recorded)


def test_modules_before_and_after_the_softmax_are_applied_in_that_order() -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    q, k, v = torch.randn(3, 1, 2, 5, 4, dtype=torch.double)
    attend, recorded = Attend(scale=0.3, before=Twice(), after=Twice()), []
    attend.recorder = recorded.append
    weights = (2 * 0.3 * q @ k.mT).softmax(-1)
    torch.testing.assert_close(attend(q, k, v), 2 * weights @ v, rtol=0, atol=1e-12)
    torch.testing.assert_close(recorded[0], weights, rtol=0, atol=1e-12)


def test_values_may_be_wider_than_keys() -> None:
    q, k = torch.randn(2, 1, 2, 5, 4, dtype=torch.double)
    v = torch.randn(1, 2, 5, 7, dtype=torch.double)
    expected = (q @ k.mT / 2).softmax(-1) @ v
    torch.testing.assert_close(Attend()(q, k, v), expected, rtol=0, atol=1e-12)


def test_cross_attention_of_a_sequence_with_itself_is_self_attention() -> None:
    cross, own = CrossAttention(8, 2).double(), Attention(8, 2).double()
    with torch.no_grad():
        own.qkv.weight.copy_(torch.cat([cross.q.weight, cross.kv.weight]))
        own.qkv.bias.copy_(torch.cat([cross.q.bias, cross.kv.bias]))
    own.proj.load_state_dict(cross.proj.state_dict())
    x = torch.randn(2, 5, 8, dtype=torch.double)
    torch.testing.assert_close(cross(x, x), own(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dim", "heads"), [(8, 3), (8, 0), (8, -2)])
def test_heads_divide_the_width(dim: int, heads: int) -> None:
    with pytest.raises(ConfigError, match=f"choose heads among the divisors of {dim}"):
        divide(dim, heads)
