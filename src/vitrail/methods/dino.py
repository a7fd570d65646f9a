"""DINO: self-distillation with no labels (Caron et al. 2021, https://arxiv.org/abs/2104.14294), and
iBOT's loss on masked patches beside it (Zhou et al. 2021, https://arxiv.org/abs/2111.07832), or
EsViT's loss on regions, for pyramids too (Li et al. 2021, https://arxiv.org/abs/2106.09785).

    all crops ────── student ─ head ─ / 0.1 ──────────────────── log-softmax ─┐
                        ╎ EMA of the weights                                  ├ cross-entropy
    2 global crops ─ teacher ─ head ─ - center ─ / 0.04 to 0.07 ─── softmax ──┘

over all pairs of different crops. Common mistakes, most of which raise no error:

    wrong                                          right
    the teacher sees local crops too               the teacher sees the global crops only
    a crop is compared with itself                 that pair is left out
    a gradient flows through the teacher           the teacher learns by EMA only
    no center, or one that stays 0                 the center is the EMA of the mean of the
                                                   teacher's logits over all processes; a batch is
                                                   centered before the center moves
    the student's temperature is the lower one     the teacher's is lower; centering without
                                                   sharpening makes its output uniform
    rows of the last layer differ in length        they have length 1 (ViT-S is stable without),
                                                   and the layer is frozen at the beginning
    dropout in the teacher                         dropout and stochastic depth in the student only
    a constant momentum                            it rises to 1 by half a cosine

The metrics show both kinds of collapse. `teacher_entropy` at log K: every output is uniform.
`mean_entropy`, the entropy of the batch's mean output, near `teacher_entropy`: every output is the
same.
"""

import itertools
import math
from typing import Annotated, cast

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, DataError, TierError
from vitrail.layers.dtypes import at_least_float32
from vitrail.layers.tokens import Token, take
from vitrail.methods.base import Batch, Loss
from vitrail.methods.batch_checks import check_mask_shape
from vitrail.methods.dino_losses import Center, crop_cross_entropy, region_cross_entropy
from vitrail.methods.ema_teacher import EMATeacher
from vitrail.methods.heads import ProjectionHead
from vitrail.methods.masking import (
    add_mask_token,
    embed_masked,
    random_mask,
    split_mask,
)
from vitrail.methods.pretraining import Pretraining
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidBackbone, SequenceBackbone
from vitrail.values import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt, Range

GLOBAL_CROPS = 2

Temperature = Annotated[float, Range(1e-3)]


class DINO(Pretraining):
    """The student predicts for every crop the output of the EMA teacher for another crop.

    `result` is the teacher's backbone. It is frozen: call `requires_grad_()` before training it.

    Args:
        backbone: model to train, the student.
        out_dim: number K of prototypes.
        head_dims: widths of the head's hidden layers and of its bottleneck.
        student_temperature: temperature of the student's softmax.
        teacher_temperature: temperature of the teacher's softmax at the start and after its
            warm-up, linear in between.
        warmup_temperature: fraction of all steps in which the teacher's temperature changes.
        temperature_levels: number of values that it takes in its warm-up, the first and the last
            among them, each for as many steps; the authors' code has one per epoch. 0 for a new
            value in each step.
        momentum: momentum of the teacher at the start; it rises to 1.
        center_momentum: momentum of the center.
        freeze_last: fraction of all steps in which the prototypes are frozen; the authors freeze
            them for one epoch of 100.
        patch_weight: weight of iBOT's loss; 0 for none. With it, `mask_ratio` of the patches of the
            student's global crops is masked, and the student predicts the teacher's output there.
        mask_ratio: fraction of the patches that is masked.
        shared_head: whether masked patches and pooled features share a head.
        region_weight: weight of EsViT's loss on regions; 0 for none. EsViT has the mean of both
            losses: 1, apart from a factor of a half.
        norm_last: whether the rows of the prototypes have length 1 throughout.

    Raises:
        TierError: with `patch_weight`, the backbone is neither a sequence nor a pyramid.
        ConfigError: the head or the mask does not fit the backbone, or both losses on patches have
            a weight.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=0, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> dino = DINO(model, out_dim=32, head_dims=(16, 8))
        >>> crops = (torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8), torch.randn(2, 3, 4, 4))
        >>> sorted(dino(Batch(crops=crops)).metrics)
        ['agreement', 'center_norm', 'mean_entropy', 'teacher_entropy']
    """

    paper = Paper(
        "Emerging Properties in Self-Supervised Vision Transformers",
        "Caron et al.",
        2021,
        "https://arxiv.org/abs/2104.14294",
        change="A student matches an EMA teacher across crops, without labels.",
    )
    inputs = ("crops",)
    has_validation_loss = False
    batch_wide = True
    logs_attention = True
    training_only = (
        "teacher", "head", "center", "patch_head", "mask_token", "patch_center", "region_head",
        "region_center",
    )  # fmt: skip

    def __init__(
        self,
        backbone: Backbone,
        out_dim: Annotated[int, Range(2)] = 65536,
        head_dims: tuple[PositiveInt, PositiveInt] = (2048, 256),
        student_temperature: Temperature = 0.1,
        teacher_temperature: tuple[Temperature, Temperature] = (0.04, 0.07),
        warmup_temperature: Fraction = 0.3,
        temperature_levels: NonNegativeInt = 0,
        momentum: Fraction = 0.996,
        center_momentum: Fraction = 0.9,
        freeze_last: Fraction = 0.01,
        patch_weight: NonNegativeFloat = 0.0,
        mask_ratio: Fraction = 0.3,
        shared_head: bool = True,
        norm_last: bool = True,
        region_weight: NonNegativeFloat = 0.0,
    ) -> None:
        if patch_weight and not isinstance(backbone, SequenceBackbone | PyramidBackbone):
            raise TierError(
                f"patch_weight={patch_weight:g} needs a SequenceBackbone or PyramidBackbone model, "
                f"and {type(backbone).__name__} is none: set patch_weight=0."
            )
        if patch_weight and region_weight:
            raise ConfigError(
                f"patch_weight={patch_weight:g} masks the crops whose regions "
                f"region_weight={region_weight:g} compares: set one of them to 0."
            )
        if temperature_levels == 1:
            raise ConfigError(
                "temperature_levels=1 is no first and last value: use 0 for a new one in each "
                "step, or 2 or more."
            )
        super().__init__(backbone, reads="all" if patch_weight or region_weight else "pooled")
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.warmup_temperature, self.freeze_last = warmup_temperature, freeze_last
        self.temperature_levels, self.norm_last = temperature_levels, norm_last
        self.momentum, self.mask_ratio = momentum, mask_ratio
        self.patch_weight, self.region_weight = patch_weight, region_weight
        self.progress = 0.0

        self.head = ProjectionHead(backbone.pooled_dim, *head_dims, out_dim, fixed_length=norm_last)
        self.center = Center(out_dim, center_momentum)
        self.patch_head: ProjectionHead | None = None
        if patch_weight:
            self._add_patch_loss(head_dims, out_dim, center_momentum, shared_head)
        self.region_head: ProjectionHead | None = None
        if region_weight:
            dims = (self.layout.dim, *head_dims, out_dim)
            self.region_head = ProjectionHead(*dims, fixed_length=norm_last)
            self.region_center = Center(out_dim, center_momentum)
        like = next(backbone.parameters())
        self.to(like.device, like.dtype)
        self.teacher = EMATeacher(self.student_modules)

    def _add_patch_loss(
        self, head_dims: tuple[int, int], out_dim: int, center_momentum: float, shared_head: bool
    ) -> None:
        self.needs_whole_cells()
        dim, pooled_dim = self.layout.dim, self.backbone.pooled_dim
        if shared_head and dim != pooled_dim:
            raise ConfigError(
                f"shared_head=True needs patches as wide as the pooled features, and {dim} is not "
                f"{pooled_dim}: set shared_head=False."
            )
        if not shared_head:
            self.patch_head = ProjectionHead(dim, *head_dims, out_dim, fixed_length=self.norm_last)
        self.patch_center = Center(out_dim, center_momentum)
        self.mask_token = Token(1, self.layout.embedded_dim, std=0.0, decayed=True)  # as iBOT's
        with torch.random.fork_rng(devices=()):
            self.visible_count = int((~self.sample_mask(1)).sum())

    @property
    def student_modules(self) -> dict[str, nn.Module]:
        """The modules that the teacher is a copy of, by name."""
        modules = {"backbone": self.backbone, "head": self.head, "patch_head": self.patch_head,
                   "region_head": self.region_head}  # fmt: skip
        return {name: module for name, module in modules.items() if module is not None}

    def sample_mask(self, batch: int, device: torch.device | None = None) -> Tensor:
        """batch size B, device → a new mask, bool (B, N), True where masked."""
        return random_mask(batch, self.layout.grid, self.mask_ratio, device=device)

    def forward(self, batch: Batch) -> Loss:
        """Batch with crops (B, C, *size), two global ones first and then local ones → Loss.

        With iBOT's loss, `patch_mask` may be bool (2 B, N); else masks are drawn.
        """
        if len(batch.crops) < GLOBAL_CROPS:
            raise ConfigError(
                f"DINO compares crops and got {len(batch.crops)}: give two global ones first."
            )
        first, second = batch.crops[:GLOBAL_CROPS]
        if first.shape != second.shape:
            raise DataError(
                f"global crops of {tuple(first.shape)} and {tuple(second.shape)} are compared as "
                "one batch: give both one shape."
            )
        images = torch.cat([first, second])
        teacher = self.result()
        with torch.no_grad():
            teacher_features = teacher.features(images)
            pooled = teacher.pool(teacher_features)
            logits = at_least_float32(self.teacher.get_submodule("head")(pooled))
            teacher_probs = self.center(logits, self.temperature).unflatten(0, (GLOBAL_CROPS, -1))
        masked_index = None
        if batch.patch_mask is not None and not self.patch_weight:
            raise DataError("the batch has a patch_mask, and patch_weight=0 masks nothing: set it.")
        if self.patch_weight:
            embedded, masked_index = self._mask(images, batch.patch_mask)
        else:
            embedded = self.backbone.embed(images)
        students = [self.backbone.encode(embedded)]
        for _, crops in itertools.groupby(batch.crops[GLOBAL_CROPS:], key=lambda crop: crop.shape):
            students.append(self.backbone.features(torch.cat(list(crops))))
        pooled = torch.cat([self.backbone.pool(features) for features in students])
        logits = at_least_float32(self.head(pooled, self.student_temperature))
        logits = logits.unflatten(0, (len(batch.crops), -1))
        loss = crop_cross_entropy(logits, teacher_probs)
        metrics = self._metrics(logits, teacher_probs)
        if masked_index is not None:
            name, weight = "patch_loss", self.patch_weight
            other = self._patch_loss(
                take(students[0].patches, masked_index),
                take(teacher_features.patches, masked_index),
            )
        elif self.region_head is not None:
            name, weight = "region_loss", self.region_weight
            other = self._region_loss(students, teacher_features, self.region_head)
        else:
            return Loss(loss, metrics)
        metrics |= {"crop_loss": loss.detach(), name: other.detach()}
        return Loss(loss + weight * other, metrics)

    def _mask(self, images: Tensor, mask: Tensor | None) -> tuple[Features, Tensor]:
        """Embedded images with mask tokens, and the masked indices (2 B, M)."""
        self.require_same_layout()
        grid, visible = self.layout.grid, self.visible_count
        mask = self.sample_mask(len(images), images.device) if mask is None else mask
        if len(mask) != len(images):
            raise DataError(
                f"patch_mask has {len(mask)} rows for {len(images)} global crops: give each crop "
                "one, those of the first crop first."
            )
        check_mask_shape(mask, len(images), grid)
        embedded = embed_masked(self.backbone, images, mask, grid)
        embedded = add_mask_token(embedded, mask, grid, self.mask_token(1))
        return embedded, split_mask(mask, visible)[1]

    def _patch_loss(self, student_patches: Tensor, teacher_patches: Tensor) -> Tensor:
        """Cross-entropy at masked patches, both (2 B, M, D)."""
        name = "head" if self.patch_head is None else "patch_head"
        with torch.no_grad():
            logits = at_least_float32(self.teacher.get_submodule(name)(teacher_patches))
            teacher_probs = self.patch_center(logits, self.temperature)
        head = self.head if self.patch_head is None else self.patch_head
        logits = at_least_float32(head(student_patches, self.student_temperature))
        return -(teacher_probs * logits.log_softmax(-1)).sum(-1).mean()

    def _region_loss(
        self, students: list[Features], teacher: Features, head: ProjectionHead
    ) -> Tensor:
        """Cross-entropy of matched regions over all pairs of a teacher's crop and another crop.

        `students` has Features of one or more crops of B images each, `teacher` of the global ones.
        """
        with torch.no_grad():
            logits = at_least_float32(self.teacher.get_submodule("region_head")(teacher.patches))
            teacher_probs = self.region_center(logits, self.temperature).chunk(GLOBAL_CROPS)
        teacher_patches = teacher.patches.chunk(GLOBAL_CROPS)
        losses, crop = [], 0
        for features in students:
            logits = at_least_float32(head(features.patches, self.student_temperature))
            size = len(teacher_patches[0])
            for pair in zip(logits.split(size), features.patches.split(size), strict=True):
                losses += [
                    region_cross_entropy(*pair, teacher_probs[i], teacher_patches[i])
                    for i in range(GLOBAL_CROPS)
                    if i != crop
                ]
                crop += 1
        return torch.stack(losses).mean()

    @torch.no_grad()
    def _metrics(self, logits: Tensor, teacher_probs: Tensor) -> dict[str, Tensor]:
        student_prototype = logits[:GLOBAL_CROPS].argmax(-1).flip(0)
        agreement = student_prototype == teacher_probs.argmax(-1)
        return {
            "teacher_entropy": _entropy(teacher_probs).mean(),
            "mean_entropy": _entropy(teacher_probs.mean((0, 1))),
            "agreement": agreement.to(teacher_probs.dtype).mean(),  # of the two global crops
            "center_norm": self.center.value.norm(),
        }

    @property
    def temperature(self) -> float:
        """The teacher's temperature at this step."""
        start, end = self.teacher_temperature
        warm = self.progress / self.warmup_temperature if self.warmup_temperature else 1.0
        if self.temperature_levels > 1:
            level = math.floor(warm * self.temperature_levels + 1e-6)
            warm = level / (self.temperature_levels - 1)
        return start + (end - start) * min(warm, 1)

    def before_step(self, progress: float) -> None:
        """Sets the teacher's temperature and momentum, and whether the prototypes are frozen.

        Args:
            progress: fraction of all steps that are done.
        """
        self.progress = progress
        for head in (self.head, self.patch_head, self.region_head):
            if head is not None:
                head.last.frozen = progress < self.freeze_last

    def after_step(self) -> None:
        """Moves the teacher towards the student."""
        cosine = (1 + math.cos(math.pi * self.progress)) / 2
        self.teacher.update(self.student_modules, 1 - (1 - self.momentum) * cosine)

    def result(self) -> Backbone:
        """The teacher's backbone, which is better than the student's throughout training."""
        return cast(Backbone, self.teacher.backbone)


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(-1)
