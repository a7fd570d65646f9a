"""The library selects patches by `take` of `layers/tokens.py`, apart from prefix tokens."""

import torch

from vitrail.layers.tokens import take
from vitrail.learn import Case, Claim, Task


def tokens(batch: int, count: int, dim: int, heads: int, ratio: float):
    def draw():
        attn = torch.randn(batch, heads, 1 + count, 1 + count).softmax(dim=-1)
        return torch.randn(batch, 1 + count, dim), attn, ratio

    return draw


def reference(x, attn, keep_ratio=0.5):
    scores = attn.mean(dim=1)[:, 0, 1:]
    order = scores.argsort(dim=1, descending=True)[:, : int(keep_ratio * scores.shape[1])]
    return torch.cat([x[:, :1], take(x[:, 1:], order)], dim=1)


def everything(token_pruning):
    """The sum of all tokens where nothing is to be pruned."""
    x, attn = torch.randn(2, 6, 3), torch.randn(2, 1, 6, 6).softmax(dim=-1)
    return token_pruning(x, attn, 1.0).sum(dim=1) - x.sum(dim=1)


TASK = Task(
    subject="token_pruning",
    cases=(
        Case("B=2, N=8, D=5, keep_ratio=0.5", tokens(2, 8, 5, 3, 0.5)),
        Case("B=1, N=6, D=12, keep_ratio=0.34", tokens(1, 6, 12, 2, 0.34)),
        Case("B=3, N=9, D=9, keep_ratio=0.7", tokens(3, 9, 9, 1, 0.7)),
    ),
    reference=reference,
    claims=(
        Claim(
            "With keep_ratio=1 every token is there once.",
            "keep_ratio=1 时，每个 token 都应恰好出现一次。",
            everything,
        ),
    ),
)
