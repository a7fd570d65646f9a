"""Distillation: learning from a teacher's answers (Hinton et al. 2015,
https://arxiv.org/abs/1503.02531; DeiT, Touvron et al. 2020, https://arxiv.org/abs/2012.12877).

    image ─┬ student ─ logits ──────┬ cross-entropy with the labels      · (1 − alpha)
           └ teacher ─ its logits ──┴ soft or hard, by the teacher alone · alpha

    hard: cross-entropy with the class that the teacher finds most likely
    soft: T² · KL(softmax(teacher / T) ‖ softmax(student / T)), the mean over the batch

A model with two heads, as DeiT's, LeViT's and PiT's distilled variants have, learns labels with the
first and the teacher with the second, and predicts with the mean of both. Any other learns both
with its one head.

Common mistakes:
- The teacher is held as a part of the method: then training wakes its dropout, its batch norms
  follow the student's batches, and its weights are saved and handed to the optimizer.
- The teacher sees images normalised for the student, or another crop than the student does (Beyer
  et al. 2021, https://arxiv.org/abs/2106.05237).
- The temperature divides one side only, or T² is forgotten: gradients shrink with 1 / T².
- The divergence is averaged over classes too. PyTorch's reduction "mean" does, and so does DeiT's
  code, by `numel`, for the sake of older runs: with 1,000 classes the teacher all but falls silent
  at the same alpha. To follow a recipe made for that code, see `alpha` below.
- One head alone predicts, and what the other learned is lost.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError, check_choice, check_range
from vitrail.layers.heads import DistillationHeads
from vitrail.methods.base import Loss, Method
from vitrail.methods.frozen import Frozen
from vitrail.methods.supervised import classify
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper


class Distill(Method):
    """Trains the whole backbone by labels and by a teacher, who stays as it is.

    Args:
        teacher: images (B, C, *size) → logits (B, classes), or an object that has them as
            `logits`, as transformers' models give it; kept frozen, in evaluation mode, and no part
            of the method. `teacher.preprocess`, if there, says how it wants its images. In a
            recipe: a run, a model folder or a Hub id; timm:NAME; transformers:ID;
            python:FILE_OR_MODULE:FUNCTION.
        kind: "hard" or "soft".
        alpha: weight of the teacher; that of labels is 1 − alpha. DeiT's code with soft answers and
            an alpha of a means, of K classes, alpha = a / (a + K · (1 − a)) here.
        temperature: what both logits are divided by; of soft answers only.
        label_smoothing: of labels only.
    """

    paper = Paper(
        "Distilling the Knowledge in a Neural Network",
        "Hinton et al.",
        2015,
        "https://arxiv.org/abs/1503.02531",
    )

    def __init__(
        self,
        backbone: Backbone,
        teacher: Callable[[Tensor], Any],
        kind: str = "hard",
        alpha: float = 0.5,
        temperature: float = 3.0,
        label_smoothing: float = 0.1,
    ) -> None:
        super().__init__(backbone)
        check_choice("kind", kind, ("hard", "soft"))
        check_range("alpha", alpha, 0, 1)
        check_range("temperature", temperature, 1e-3)
        check_range("label_smoothing", label_smoothing, 0, 0.999)
        config = getattr(teacher, "config", None)
        told = getattr(teacher, "num_classes", getattr(config, "num_labels", None))
        if told is not None and told != backbone.num_classes:
            raise ConfigError(
                f"the teacher knows {told} classes and the student {backbone.num_classes}: give a "
                "teacher that was trained on the same ones."
            )
        self.teacher = Frozen(teacher)
        self.kind, self.alpha, self.temperature = kind, alpha, temperature
        self.label_smoothing = label_smoothing

    def forward(self, images: Tensor, targets: Tensor) -> Loss:
        """images float (B, C, *size); targets (B,), or (B, classes) where images were mixed.

        Of the metrics, `agreement` is how often the student says what the teacher says.
        """
        head = self.backbone.head
        pooled = self.backbone.pool(self.backbone.features(images))
        if isinstance(head, DistillationHeads):
            named, taught = head.each(pooled)
        else:
            named = taught = head(pooled)
        answer = self.teacher(images, self.backbone.preprocess)
        answer = getattr(answer, "logits", answer)
        if not isinstance(answer, Tensor) or answer.shape != taught.shape:
            raise ConfigError(
                f"the teacher gives {getattr(answer, 'shape', type(answer).__name__)} and the "
                f"student {taught.shape}: both must give logits of the same classes."
            )
        base = classify(named, targets, self.label_smoothing)
        loss = distillation(taught, answer, self.kind, self.temperature)
        agreement = (taught.detach().argmax(1) == answer.argmax(1)).float().mean()
        metrics = {**base.metrics, "distillation": loss.detach(), "agreement": agreement}
        return Loss((1 - self.alpha) * base.loss + self.alpha * loss, metrics)


def distillation(student: Tensor, teacher: Tensor, kind: str, temperature: float) -> Tensor:
    """Logits (B, classes) of both → what it costs the student to answer otherwise, a number.

    kind: "hard" or "soft". Computed in float32 or better.
    """
    student = student.to(torch.promote_types(student.dtype, torch.float32))
    if kind == "hard":
        return F.cross_entropy(student, teacher.argmax(1))
    ours, theirs = (
        (logits / temperature).log_softmax(1) for logits in (student, teacher.to(student))
    )
    return temperature**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
