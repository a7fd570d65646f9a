"""`methods/dino_losses.py` holds the center and the cross-entropy between crops."""

import torch

from vitrail.learn import Case, Task
from vitrail.methods.dino_losses import Center, crop_cross_entropy


def crops(count: int, batch: int, dim: int):
    return lambda: (
        torch.randn(count, batch, dim) * 0.3,
        torch.randn(count, batch, dim) * 0.1 + 0.2,
        torch.randn(dim) * 0.1,
    )


def reference(student_logits, teacher_logits, center):
    centering = Center(len(center), momentum=0.9)
    centering.value = center.detach().clone()
    probs = centering(teacher_logits[:2].detach(), temperature=0.04)
    return crop_cross_entropy(student_logits / 0.1, probs), centering.value


TASK = Task(
    subject="dino_step",
    cases=(
        Case("V=5 crops, B=3, K=6", crops(5, 3, 6)),
        Case("V=3 crops, one of them local", crops(3, 4, 5)),
        Case("V=6 crops, B=1, K=3", crops(6, 1, 3)),
    ),
    reference=reference,
    meta=False,
)
