"""`models/vim.py` flips and shuffles token sequences as augmentation, class token kept."""

import torch

from vitrail.learn import Case, Claim, Task


def shuffled(batch: int, count: int, dim: int, cls: int):
    return lambda: (torch.randn(batch, count, dim), cls, torch.randperm(count - 1))


def flipped(batch: int, count: int, dim: int, cls: int):
    return lambda: (torch.randn(batch, count, dim), cls, torch.arange(count - 1).flip(0))


def keeps(reorder):
    """Where the class token is, and whether `indices.argsort()` brings all tokens back."""
    torch.manual_seed(0)
    tokens, order = torch.randn(1, 8, 2), torch.randperm(7)
    results = []
    for cls in (0, 3, 7):
        moved, indices = reorder(tokens, cls, order)
        results += [moved[:, cls] - tokens[:, cls], moved[:, indices.argsort()] - tokens]
    return results


TASK = Task(
    subject="reorder",
    cases=(
        Case("class token first, shuffled", shuffled(2, 9, 3, 0)),
        Case("class token in the middle, shuffled", shuffled(1, 7, 2, 3)),
        Case("class token in the middle, flipped", flipped(2, 9, 2, 4)),
        Case("class token last, shuffled", shuffled(3, 6, 2, 5)),
    ),
    meta=False,
    claims=(
        Claim(
            "The class token stays, and indices.argsort() brings every token back.",
            "class token 位置不变，并且用 indices.argsort() 能还原所有 token。",
            keeps,
        ),
    ),
)
