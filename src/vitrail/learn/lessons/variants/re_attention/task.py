"""`models/deepvit.py` holds the same, written for speed."""

import torch

import vitrail
from vitrail.learn import Case, Swap, Task
from vitrail.learn.task import renamed
from vitrail.models.deepvit import ReAttention


def weights(batch: int, heads: int, count: int):
    return lambda: (torch.randn(batch, heads, count, count).softmax(dim=-1),)


def model():
    return vitrail.DeepViT((12, 8), 4, num_classes=3, dim=12, depth=2, heads=3, mlp_dim=16)


TASK = Task(
    subject="ReAttention",
    cases=(
        Case("B=2, heads=3, N=5", weights(2, 3, 5), {"heads": 3}),
        Case("B=1, heads=4, N=4", weights(1, 4, 4), {"heads": 4}),
        Case("B=3, heads=2, N=6", weights(3, 2, 6), {"heads": 2}),
    ),
    reference=ReAttention,
    weights=renamed(weight="norm.weight", bias="norm.bias"),
    swap=Swap(model, "blocks.1.mixer.attend.after", lambda: torch.randn(3, 3, 12, 8), {"heads": 3}),
)
