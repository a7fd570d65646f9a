"""`methods/distill.py` holds the teacher's part of the same loss."""

import torch
import torch.nn.functional as F

from vitrail.learn import Case, Task
from vitrail.methods.distill import distillation_loss


def logits(batch: int, classes: int):
    def draw():
        heads = (torch.randn(batch, classes) for _ in range(3))
        return *heads, torch.randint(classes, (batch,))

    return draw


def reference(class_logits, distillation_logits, teacher_logits, labels):
    taught = distillation_loss(distillation_logits, teacher_logits, "hard", temperature=1.0)
    return (F.cross_entropy(class_logits, labels) + taught) / 2


TASK = Task(
    subject="distillation_loss",
    cases=(
        Case("B=4, K=5", logits(4, 5)),
        Case("B=1, K=3", logits(1, 3)),
        Case("B=9, K=2", logits(9, 2)),
    ),
    reference=reference,
)
