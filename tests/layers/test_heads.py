"""Heads of distillation."""

import torch
from torch import nn

from vitrail.layers.heads import DistillationHeads, TokenDistillationHeads


def test_logits_are_the_mean_of_both_heads() -> None:
    cls, dist = nn.Linear(4, 3), nn.Linear(4, 3)
    pooled = torch.randn(2, 4)
    both = DistillationHeads(cls, dist)
    assert torch.equal(both(pooled), (cls(pooled) + dist(pooled)) / 2)
    first, second = both.each(pooled)
    assert torch.equal(first, cls(pooled))
    assert torch.equal(second, dist(pooled))


def test_each_head_reads_a_token_of_its_own() -> None:
    cls, dist = nn.Linear(4, 3), nn.Linear(4, 3)
    tokens = torch.randn(2, 8)
    first, second = TokenDistillationHeads(cls, dist).each(tokens)
    assert torch.equal(first, cls(tokens[:, :4]))
    assert torch.equal(second, dist(tokens[:, 4:]))
