"""`methods/mae.py` computes the same of the masked patches alone."""

import torch
import torch.nn.functional as F

from vitrail.layers.tokens import take
from vitrail.learn import Case, Claim, Task
from vitrail.methods.masking import shuffle_mask, split_mask


def patches(batch: int, count: int, pixels: int, ratio: float):
    def draw():
        mask = shuffle_mask(torch.rand(batch, count), ratio).long()
        scale = torch.rand(batch, count, 1) * 3
        return (
            torch.randn(batch, count, pixels),
            torch.randn(batch, count, pixels) * scale + 1,
            mask,
        )

    return draw


def reference(predictions, targets, mask):
    _, masked = split_mask(mask.bool())
    targets = take(targets, masked)
    variance, mean = torch.var_mean(targets, dim=-1, keepdim=True)
    return F.mse_loss(take(predictions, masked), (targets - mean) / (variance + 1e-6).sqrt())


def flat(masked_loss):
    """Of a patch of one color, as the sky is."""
    return masked_loss(torch.ones(1, 2, 4), torch.full((1, 2, 4), 0.5), torch.tensor([[1, 0]]))


def unequal(masked_loss):
    """Of two images of which one has three masked patches and the other has one."""
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    return masked_loss(torch.randn(2, 4, 6), torch.randn(2, 4, 6), mask)


TASK = Task(
    subject="masked_loss",
    cases=(
        Case("B=2, N=16, P=12", patches(2, 16, 12, 0.75)),
        Case("B=1, N=4, P=3", patches(1, 4, 3, 0.5)),
        Case("B=3, N=9, P=48", patches(3, 9, 48, 0.6)),
    ),
    reference=reference,
    meta=False,
    claims=(
        Claim(
            "A patch of one color has a variance of 0 and must not give nan.",
            "纯色 patch 的方差为 0，不能得到 nan。",
            flat,
        ),
        Claim(
            "Every masked patch of the batch counts alike, however many its image has.",
            "batch 中每个被遮住的 patch 权重相同，与所在图像遮住多少无关。",
            unequal,
        ),
    ),
)
