"""Knowledge distillation: learning from the logits of a teacher (Hinton et al. 2015,
https://arxiv.org/abs/1503.02531; DeiT, Touvron et al. 2020, https://arxiv.org/abs/2012.12877).

    image ─┬ student ─ logits ──────┬ cross-entropy with the labels           · (1 - alpha)
           └ teacher ─ its logits ──┴ soft or hard loss, by the teacher alone · alpha

    hard: cross-entropy with the class that the teacher finds most likely
    soft: T² · KL(softmax(teacher / T) ‖ softmax(student / T)), the mean over the batch

A model with two heads, as DeiT's, LeViT's and PiT's distilled variants have, learns labels with the
first and the teacher with the second, and predicts with the mean of both. Where only one of them
teaches (alpha is 0 or 1), both heads learn from it, for a head that learned nothing would spoil the
mean. Any other model learns both with its one head.

Common mistakes:
- The teacher is a submodule of the method. Training then turns on its dropout, its batch norms
  follow the student's batches, and its weights are saved and given to the optimizer.
- The teacher sees images normalized for the student, or another crop than the student does (Beyer
  et al. 2021, https://arxiv.org/abs/2106.05237).
- The temperature divides one side only, or T² is forgotten: gradients shrink with 1 / T².
- The divergence is averaged over classes too. PyTorch's reduction "mean" does so, and so does
  DeiT's code, by `numel`. With 1,000 classes the distillation term is then negligible at the same
  alpha. To follow a recipe made for that code, see `alpha` below.
- One head alone predicts, and what the other one learned is lost.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError, DataError
from vitrail.layers.dtypes import at_least_float32
from vitrail.methods.base import Batch, Loss, Method
from vitrail.methods.class_loss import classify
from vitrail.methods.frozen import Frozen, require_own_weights
from vitrail.methods.multi_label import weighted_mean
from vitrail.methods.targets import require_outputs, require_samples
from vitrail.methods.teachers import match_classes
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.ops.guard import guarded
from vitrail.values import Fraction, PositiveFloat, Range, Rate


class Distill(Method):
    """Trains the whole backbone on labels and on the logits of a frozen teacher.

    Args:
        backbone: model to train, the student.
        teacher: function from images (B, C, *size) to logits (B, classes), or to an object with the
            attribute `logits`, as transformers' models return. It is frozen, in evaluation mode,
            and not a submodule. Its attribute `preprocess`, if there is one, says how it expects
            images. Where its classes have names (`labels`, or transformers' `config.id2label`),
            they must be the student's; another order is mapped by name. In a recipe: a run, a model
            folder or a Hub id; timm:NAME; transformers:ID;
            python:FILE_OR_MODULE:FUNCTION.
        kind: "hard" learns the teacher's most likely class, "soft" its distribution.
        alpha: weight of the teacher's loss; the labels' loss has weight 1 - alpha. For DeiT's code
            with soft targets and its own alpha a, use alpha = a / (a + K · (1 - a)) with K classes.
        temperature: both logits are divided by it; "soft" only.
        label_smoothing: probability that is spread evenly over all classes; labels only.

    Raises:
        ConfigError: teacher and student have different classes.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> distill = Distill(model, teacher=lambda images: images.flatten(1)[:, :2], kind="soft")
        >>> batch = Batch(images=torch.zeros(2, 3, 8, 8), labels=torch.tensor([0, 1]))
        >>> sorted(distill(batch).metrics)
        ['agreement', 'distillation', 'top1']
    """

    paper = Paper(
        "Distilling the Knowledge in a Neural Network",
        "Hinton et al.",
        2015,
        "https://arxiv.org/abs/1503.02531",
        change="A small network learns the soft class probabilities of a large one.",
    )
    named: ClassVar[Mapping[str, str]] = {"teacher": "teacher"}
    weighs_samples = True

    def __init__(
        self,
        backbone: Backbone,
        teacher: Callable[[Tensor], object],
        kind: Literal["hard", "soft"] = "hard",
        alpha: Fraction = 0.5,
        temperature: Annotated[float, Range(1e-3, 1e3)] = 3.0,
        label_smoothing: Rate = 0.1,
    ) -> None:
        super().__init__(backbone)
        require_own_weights(backbone, teacher, "teacher")
        if hasattr(teacher, "has_validation_loss"):  # a method of this package
            raise ConfigError(
                f"the teacher is a {type(teacher).__name__}, which gives a loss: give a "
                "classifier, such as its backbone."
            )
        config = getattr(teacher, "config", None)
        classes = getattr(teacher, "num_classes", getattr(config, "num_labels", None))
        if classes is not None and classes != backbone.num_classes:
            raise ConfigError(
                f"the teacher has {classes} classes and the student {backbone.num_classes}: give a "
                "teacher that was trained on the same ones."
            )
        require_outputs(backbone.num_classes)
        self.teacher = Frozen(match_classes(teacher, backbone.labels))
        self.kind, self.alpha, self.temperature = kind, alpha, temperature
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size) and labels (B,) or (B, classes) → Loss.

        The metric "agreement" is the fraction of images on which student and teacher predict the
        same class.
        """
        images, head = batch["images"], self.backbone.head
        pooled = self.backbone.pool(self.backbone.features(images))
        if (each := getattr(head, "each", None)) is not None:  # the head of a distilled model
            class_logits, student_logits = each(pooled)
        else:
            class_logits = student_logits = head(pooled)
        output = self.teacher(images, self.backbone.preprocess)
        teacher_logits = getattr(output, "logits", output)
        if not isinstance(teacher_logits, Tensor):
            raise ConfigError(
                f"the teacher gives a {type(teacher_logits).__name__}: let it give a tensor of "
                "logits (B, classes), or an object with the attribute logits."
            )
        if teacher_logits.shape != student_logits.shape:
            raise ConfigError(
                f"the teacher gives {teacher_logits.shape} and the student {student_logits.shape}: "
                "both must give logits of the same classes."
            )
        of_labels = functools.partial(
            classify,
            labels=batch["labels"],
            label_smoothing=self.label_smoothing,
            sample_weights=batch.weights,
        )
        of_teacher = functools.partial(
            distillation_loss,
            teacher=teacher_logits,
            kind=self.kind,
            temperature=self.temperature,
            weights=batch.weights,
        )
        supervised, loss = of_labels(class_logits), of_teacher(student_logits)
        if self.alpha == 0:
            other = of_labels(student_logits)
            supervised = supervised._replace(loss=(supervised.loss + other.loss) / 2)
        elif self.alpha == 1:
            loss = (loss + of_teacher(class_logits)) / 2
        agreement = (student_logits.detach().argmax(1) == teacher_logits.argmax(1)).float().mean()
        metrics = {**supervised.metrics, "distillation": loss.detach(), "agreement": agreement}
        return Loss((1 - self.alpha) * supervised.loss + self.alpha * loss, metrics)


@guarded
def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    kind: Literal["hard", "soft"],
    temperature: PositiveFloat,
    weights: Tensor | None = None,
) -> Tensor:
    """The teacher's part of the loss, computed in float32 or better.

    Args:
        student: logits (B, classes).
        teacher: logits (B, classes), without a gradient.
        kind: "hard", cross-entropy with the teacher's class; "soft", KL divergence from its
            distribution, times the square of the temperature.
        temperature: both logits are divided by it; "soft" only.
        weights: (B,), how much each sample counts; None for all alike.

    Returns:
        The weighted mean over the batch, ().

    Raises:
        DataError: there are no samples, or the shapes differ.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> distillation_loss(logits, logits, "soft", 3.0)
        tensor(0.)
    """
    require_samples(student)
    if student.shape != teacher.shape:
        raise DataError(
            f"logits of the student {tuple(student.shape)} and of the teacher "
            f"{tuple(teacher.shape)} are compared one by one: give both one shape."
        )
    student = at_least_float32(student)
    if kind == "hard":
        losses = F.cross_entropy(student, teacher.argmax(1), reduction="none")
        losses = losses + 0 * teacher.sum(1)  # nan, and not class 0, of a teacher without an answer
        return weighted_mean(losses, weights)
    student_log, teacher_log = (
        (logits / temperature).log_softmax(1) for logits in (student, teacher.to(student))
    )
    divergence = F.kl_div(student_log, teacher_log, reduction="none", log_target=True).sum(1)
    return temperature**2 * weighted_mean(divergence, weights)
