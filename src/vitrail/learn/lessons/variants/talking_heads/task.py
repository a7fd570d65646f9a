"""`models/cait.py` holds the same mixing as `TalkingHeads`, before and after the softmax."""

import torch

import vitrail
from vitrail.layers.attention import Attend, Attention
from vitrail.learn import Case, Swap, Task
from vitrail.learn.task import renamed
from vitrail.models.cait import TalkingHeads


def reference(dim: int, heads: int):
    attend = Attend(before=TalkingHeads(heads), after=TalkingHeads(heads))
    return Attention(dim, heads, attend=attend)


def tokens(batch: int, count: int, dim: int):
    return lambda: (torch.randn(batch, count, dim),)


def model():
    return vitrail.CaiT((12, 8), 4, num_classes=3, dim=12, depth=2, heads=3, mlp_dim=16)


TASK = Task(
    subject="TalkingHeads",
    cases=(
        Case("B=2, N=5, D=12, heads=3", tokens(2, 5, 12), {"dim": 12, "heads": 3}),
        Case("B=1, N=4, D=16, heads=4", tokens(1, 4, 16), {"dim": 16, "heads": 4}),
        Case("B=3, N=2, D=8, heads=2", tokens(3, 2, 8), {"dim": 8, "heads": 2}),
    ),
    reference=reference,
    weights=renamed(
        attend__before__weight="before.weight",
        attend__before__bias="before.bias",
        attend__after__weight="after.weight",
        attend__after__bias="after.bias",
    ),
    swap=Swap(model, "blocks.1.mixer", lambda: torch.randn(3, 3, 12, 8), {"dim": 12, "heads": 3}),
)
