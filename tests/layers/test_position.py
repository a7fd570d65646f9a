"""Positions: rotations, sines and cosines, resampled tables."""

import pytest
import torch
import torch.nn.functional as F

from vitrail.errors import ConfigError
from vitrail.layers.position import resize_positions, rotate, rotation, sincos_positions


def test_rotations_make_attention_relative() -> None:
    cos, sin = rotation((6, 6), (6, 6), 8)
    q, k = torch.randn(2, 1, 1, 1, 8).expand(2, 1, 1, 36, 8)
    logits = (rotate(q, (cos, sin)) @ rotate(k, (cos, sin)).mT)[0, 0].reshape(6, 6, 6, 6)
    # From (1, 2) to (3, 1) is the same step as from (2, 4) to (4, 3).
    torch.testing.assert_close(logits[1, 2, 3, 1], logits[2, 4, 4, 3])
    assert not torch.isclose(logits[1, 2, 3, 1], logits[1, 2, 1, 3])


def test_rotations_keep_lengths_prefix_and_scale() -> None:
    tables = rotation((4, 4), (4, 4), 8, prefix=2)
    x = torch.randn(1, 2, 18, 8)
    torch.testing.assert_close(rotate(x, tables).norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(rotate(x, tables)[:, :, :2], x[:, :, :2])
    doubled = rotation((8, 8), (4, 4), 8)
    torch.testing.assert_close(doubled[0].reshape(8, 8, 8)[::2, ::2].flatten(0, 1), tables[0][2:])
    with pytest.raises(ConfigError, match="head dimension 6"):
        rotation((4, 4), (4, 4), 6)


def test_sincos_positions_name_every_place() -> None:
    table = sincos_positions((5, 7), 32)[0]
    assert table.shape == (35, 32)
    assert torch.cdist(table, table).add(torch.eye(35)).min() > 0.1
    with pytest.raises(ConfigError, match="dim=6"):
        sincos_positions((5, 7), 6)


def test_resized_positions_keep_a_plane_and_their_own_grid() -> None:
    table = torch.randn(1, 12, 5)
    assert resize_positions(table, (3, 4), (3, 4)) is table
    constant = torch.full((1, 12, 5), 0.7)
    resized = resize_positions(constant, (3, 4), (6, 5))
    torch.testing.assert_close(resized, torch.full((1, 30, 5), 0.7))
    image = table.reshape(1, 3, 4, 5).permute(0, 3, 1, 2)
    expected = F.interpolate(image, (6, 5), mode="bicubic").flatten(2).mT
    torch.testing.assert_close(resize_positions(table, (3, 4), (6, 5)), expected)
