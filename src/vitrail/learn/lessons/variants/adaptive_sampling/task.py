"""`models/ats_vit.py` holds `sample_tokens`; `SamplingAttention` computes the scores."""

import torch

from vitrail.learn import Case, Claim, Task
from vitrail.models.ats_vit import sample_tokens


def attention(batch: int, heads: int, count: int):
    """Weights and values of which some patches matter far more than others."""

    def draw():
        logits = 2 * torch.randn(batch, heads, 1 + count, 1 + count)
        values = torch.randn(batch, heads, 1 + count, 3) * torch.rand(batch, 1, 1 + count, 1).exp()
        return logits.softmax(dim=-1), values

    return draw


def reference(attn, v, K):
    scores = (attn * v.norm(dim=-1)[:, :, None]).sum(dim=1)[:, 0, 1:]
    index = sample_tokens(scores, K)
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, index, True)


def counts(sample):
    """How many patches stay where one has nearly all of the score, and where all have the same."""
    values = torch.ones(1, 1, 17, 2)
    one = torch.full((1, 1, 17, 17), 1e-3)
    one[:, :, 0, 5] = 1
    return [sample(weights, values, 8).sum() for weights in (one, torch.ones(1, 1, 17, 17))]


TASK = Task(
    subject="sample",
    cases=(
        Case("B=4, heads=4, N=30, K=16", attention(4, 4, 30), {"K": 16}),
        Case("B=2, heads=2, N=12, K=6", attention(2, 2, 12), {"K": 6}),
        Case("B=1, heads=3, N=20, K=8", attention(1, 3, 20), {"K": 8}),
        Case("B=3, heads=1, N=9, K=3", attention(3, 1, 9), {"K": 3}),
    ),
    reference=reference,
    gradients=False,
    claims=(
        Claim(
            "K=8, 16 patches: two stay where one has all of the score, eight where all are equal.",
            "K=8、16 个图像块：一个占了几乎全部分数时应留 2 个，分数全部相同时应留 8 个。",
            counts,
        ),
    ),
)
