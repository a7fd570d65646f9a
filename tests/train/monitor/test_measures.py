"""Each measure equals its formula, written out."""

import math

import pytest
import torch

from vitrail.train.monitor import measures


@pytest.fixture
def weights() -> torch.Tensor:
    """Attention weights (2, 3, 9, 9)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 9, 9, generator=generator).mul(2).softmax(dim=-1)


def test_entropy_is_that_of_each_row(weights: torch.Tensor) -> None:
    rows = [
        [-sum(w * math.log(w) for w in row) / math.log(9) for row in weights[b, 1].tolist()]
        for b in range(2)
    ]
    expected = sum(map(sum, rows)) / 18
    assert measures.attention_entropy(weights)[1].item() == pytest.approx(expected, rel=1e-5)
    one_key = torch.eye(9).expand(1, 1, 9, 9)
    assert measures.attention_entropy(one_key).tolist() == [0]


def test_looks_at_itself_and_at_one_token(weights: torch.Tensor) -> None:
    own = sum(weights[b, 2, i, i].item() for b in range(2) for i in range(9)) / 18
    shares = measures.self_attention_share(weights)
    assert shares is not None
    assert shares[2].item() == pytest.approx(own, rel=1e-5)
    columns = [max(sum(weights[b, 0, :, j]).item() / 9 for j in range(9)) for b in range(2)]
    most = measures.one_token_share(weights)
    assert most is not None
    assert most[0].item() == pytest.approx(sum(columns) / 2, rel=1e-5)


def test_few_or_other_queries_say_nothing(weights: torch.Tensor) -> None:
    assert measures.self_attention_share(weights[..., :8]) is None  # keys of a coarser grid
    assert measures.self_attention_share(weights[..., :7, :7]) is None
    assert measures.one_token_share(weights[..., :1, :]) is None  # a class token alone


def test_the_output_of_a_head_is_that_of_its_columns() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*s, generator=generator) for s in ((2, 5, 6), (4, 6)))
    sizes = measures.head_outputs(x, weight, heads=3)
    for head in range(3):
        part = x[..., 2 * head : 2 * head + 2] @ weight[:, 2 * head : 2 * head + 2].T
        expected = part.norm(dim=-1).square().mean().sqrt()
        torch.testing.assert_close(sizes[head], expected)


def test_the_effective_rank_is_roys_and_vetterlis() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(20, 5, generator=generator) * torch.tensor([9.0, 3, 1, 0.5, 0.1])
    values = torch.linalg.svdvals(tokens.double())
    shares = values / values.sum()
    expected = math.exp(-(shares * shares.log()).sum().item())
    assert measures.effective_rank(tokens).item() == pytest.approx(expected, rel=1e-3)
    one = torch.outer(torch.arange(1.0, 6), torch.ones(7))
    assert measures.effective_rank(one).item() == pytest.approx(1, abs=0.01)
    many = torch.randn(3, 500, 8, generator=generator)
    assert measures.effective_rank(many).shape == (3,)


def test_units_are_dead_that_fire_for_no_token() -> None:
    hidden = torch.nn.functional.gelu(torch.tensor([[-10.0, 1, -3], [-4, -9, 0]]))
    assert measures.dead_share(hidden).item() == pytest.approx(1 / 3)


def test_outliers_are_far_above_the_median() -> None:
    norms = torch.ones(4, 25)
    norms[0, :2] = 6
    norms[1, 0] = 4
    assert measures.outlier_share(norms).item() == pytest.approx(0.02)
