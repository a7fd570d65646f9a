"""Windows of a feature map."""

import pytest
import torch

from vitrail.layers.attention import Attention
from vitrail.layers.relative_position import RelativeBias
from vitrail.layers.window import WindowAttention, partition, shift_mask, unpartition


@pytest.mark.parametrize("spread", [False, True])
def test_windows_hold_neighbors_or_cells_spread_over_the_map(spread: bool) -> None:
    x = torch.randn(2, 4, 6, 3)
    windows = partition(x, (2, 3), spread=spread)
    assert windows.shape == (2 * 4, 6, 3)
    first = x[0, ::2, ::2] if spread else x[0, :2, :3]
    assert torch.equal(windows[0], first.reshape(6, 3))
    assert torch.equal(unpartition(windows, (2, 3), (4, 6), spread=spread), x)


def test_window_attention_is_attention_in_each_window() -> None:
    attention, bias = Attention(8, 2).double(), RelativeBias((2, 2), 2, std=1.0).double()
    x = torch.randn(1, 3, 4, 8, dtype=torch.double)
    y = WindowAttention(attention, (2, 2), bias=bias)(x)
    corner = x[:, :2, :2].reshape(1, 4, 8)
    expected = attention(corner, bias=bias()).view(1, 2, 2, 8)
    torch.testing.assert_close(y[:, :2, :2], expected, rtol=0, atol=1e-12)
    below = torch.cat([x[:, 2:, :2], torch.zeros(1, 1, 2, 8).double()], 1).reshape(1, 4, 8)
    expected = attention(below, bias=bias()).view(1, 2, 2, 8)[:, :1]
    torch.testing.assert_close(y[:, 2:, :2], expected, rtol=0, atol=1e-12)


def test_cells_from_opposite_edges_do_not_see_each_other() -> None:
    mask = shift_mask((4, 4), (2, 2), (1, 1))
    rolled = torch.arange(16).view(4, 4).roll((-1, -1), (0, 1))[None, :, :, None]
    cells = partition(rolled, (2, 2)).squeeze(-1)
    rows, columns = cells // 4, cells % 4
    near = (rows[:, :, None] - rows[:, None]).abs() <= 1
    near &= (columns[:, :, None] - columns[:, None]).abs() <= 1
    assert torch.equal(mask == 0, near)
    assert mask[~near].isneginf().all()
