"""`methods/clip.py` computes the same within `CLIP.forward`."""

import torch

from vitrail.learn import Case, Task


def pairs(batch: int, dim: int, log_scale: float):
    return lambda: (
        torch.randn(batch, dim) * 2,
        torch.randn(batch, dim) * 0.5,
        torch.tensor(log_scale),
    )


def reference(images, texts, log_scale):
    """The loss by logarithms of sums, as section 2.3 states it in words."""
    cosines = torch.einsum("ie,te->it", images, texts)
    cosines = cosines / images.norm(dim=1)[:, None] / texts.norm(dim=1)
    logits = log_scale.exp() * cosines
    matched = logits.diagonal().mean()
    return (logits.logsumexp(dim=1).mean() + logits.logsumexp(dim=0).mean()) / 2 - matched


TASK = Task(
    subject="clip_loss",
    cases=(
        Case("B=4, E=8, scale 1 / 0.07", pairs(4, 8, 2.659)),
        Case("B=2, E=3, scale 2", pairs(2, 3, 0.693)),
        Case("B=7, E=5, scale 1", pairs(7, 5, 0.0)),
    ),
    reference=reference,
)
