"""`methods/masking.py` and `layers/tokens.py` hold the same steps."""

import torch

from vitrail.layers.tokens import take
from vitrail.learn import Case, Task
from vitrail.methods.masking import shuffle_mask


def tokens(batch: int, count: int, dim: int, ratio: float):
    return lambda: (torch.randn(batch, count, dim), torch.rand(batch, count), ratio)


def reference(tokens, noise, ratio):
    mask, order = shuffle_mask(noise, ratio), noise.argsort(dim=1)
    visible = take(tokens, order[:, : int((~mask[0]).sum())])
    return visible, mask.to(noise.dtype), order.argsort(dim=1)


TASK = Task(
    subject="random_masking",
    cases=(
        Case("B=2, N=16, ratio 0.75", tokens(2, 16, 4, 0.75)),
        Case("B=1, N=9, ratio 0.6", tokens(1, 9, 3, 0.6)),
        Case("B=5, N=7, ratio 0.4: 4.2 patches would be visible", tokens(5, 7, 6, 0.4)),
        Case("B=3, N=7, ratio 0.75: 1.75 patches would be visible", tokens(3, 7, 2, 0.75)),
    ),
    reference=reference,
    meta=False,
)
