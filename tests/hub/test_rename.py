"""Renaming of weights from other libraries."""

import pytest
import torch
from torch import nn

from vitrail.errors import LoadError
from vitrail.hub.rename import batch_positions, fuse_kv, fuse_qkv, normed, rename


def test_the_first_rule_that_matches_the_whole_name_counts() -> None:
    rules = [(r"a\.(\d+)", r"b.\1"), (r"a\..*", "rest"), (r"c", "d")]
    tensors = {"a.1": torch.zeros(1), "c": torch.zeros(2), "skipped": torch.zeros(3)}
    assert list(rename(tensors, rules, ["skip.*"])) == ["b.1", "d"]
    with pytest.raises(LoadError, match="the weight 'ca' belongs to no module"):
        rename({"ca": torch.zeros(1)}, rules)


def test_a_layer_and_its_norm() -> None:
    rules = normed(r"stem\.(\d)", r"embed.\1", layer="c", norm="bn", kind="linear")
    tensors = {"stem.2.c.weight": torch.zeros(1), "stem.2.bn.running_mean": torch.zeros(1)}
    assert list(rename(tensors, rules)) == ["embed.2.linear.weight", "embed.2.norm.running_mean"]


def test_projections_are_joined_in_order() -> None:
    parts = {f"x.{letter}.bias": torch.full((2,), i) for i, letter in enumerate("qkv")}
    assert fuse_qkv(parts, nn.Identity())["x.qkv.bias"].tolist() == [0, 0, 1, 1, 2, 2]
    joined = fuse_kv(parts, nn.Identity())
    assert joined["x.kv.bias"].tolist() == [1, 1, 2, 2]
    assert joined["x.q.bias"].tolist() == [0, 0]


@pytest.mark.parametrize("shape", [(5, 8), (1, 5, 8)])
def test_positions_get_a_batch_axis(shape: tuple[int, ...]) -> None:
    tensors = {"position.weight": torch.zeros(shape)}
    assert batch_positions(tensors, nn.Identity())["position.weight"].shape == (1, 5, 8)
