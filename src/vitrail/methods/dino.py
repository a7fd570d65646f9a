"""DINO: self-distillation with no labels (Caron et al. 2021, https://arxiv.org/abs/2104.14294), and
iBOT's loss on patches beside it (Zhou et al. 2021, https://arxiv.org/abs/2111.07832).

    all crops ────── student ─ head ─ / 0.1 ──────────────────── log-softmax ─┐
                        ╎ moving average of the weights                       ├ cross-entropy
    2 global crops ─ teacher ─ head ─ − centre ─ / 0.04 to 0.07 ─── softmax ──┘

of every pair of different crops. What easily goes wrong, most of it without an error:

- *Views swapped.* The student sees all crops and the teacher only the large ones, so that a part
  has to tell of the whole.
- *A crop compared with itself.* That pair is left out.
- *A gradient through the teacher.* It learns by averaging only; else both agree on a constant.
- *No centre, or one that stays 0.* Then one prototype takes all. The centre is the mean of the
  teacher's logits over all processes, and a batch is centred before the centre moves towards it.
- *Temperatures on the wrong side.* The teacher's is the lower one. A centre without sharp answers
  makes all of them uniform.
- *A last layer whose rows differ in length.* The longest wins. It also rests at the beginning.
- *A teacher that drops.* Dropout and stochastic depth are the student's only.
- *Momentum that stays.* It rises to 1, by half a cosine.

The metrics show both ways to collapse. `teacher_entropy` at log K: every answer is uniform.
`mean_entropy`, that of the batch's mean answer, near `teacher_entropy`: every answer is the same.
"""

import itertools
import math
from typing import cast

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, TierError, check_range
from vitrail.layers.tokens import take
from vitrail.methods import distributed
from vitrail.methods.base import Loss, Pretraining
from vitrail.methods.ema_teacher import Teacher
from vitrail.methods.heads import ProjectionHead
from vitrail.methods.masking import embed_hidden, mark, random_mask, split
from vitrail.models.base import Backbone, PyramidBackbone, SequenceBackbone
from vitrail.models.paper import Paper

GLOBAL = 2  # crops that the teacher sees


class DINO(Pretraining):
    """A student learns to say of every crop what its teacher, its own average, says of another.

    Args:
        out_dim: K, how many prototypes. head_dims: widths of the head's hidden layers and its end.
        student_temperature: of its softmax. teacher_temperature: at the start, and from
            `warmup_temperature`, a part of training, on; linear in between.
        momentum: of the teacher at the start; it rises to 1. centre_momentum: of the centre.
        freeze_last: part of training in which the prototypes rest; the authors' one epoch of 100.
        patch_weight: of iBOT's loss; 0 for none. Then `mask_ratio` of the places of the student's
            global crops is hidden, and it predicts what the teacher, which sees all, says there.
        shared_head: patches go through the head of the pooled features, else through their own.

    `result` is the teacher's backbone. It is frozen: `requires_grad_()` before training it on.
    """

    paper = Paper(
        "Emerging Properties in Self-Supervised Vision Transformers",
        "Caron et al.",
        2021,
        "https://arxiv.org/abs/2104.14294",
    )

    views = "crops"
    passing = ("teacher", "head", "patch_head", "mask_token", "centre", "patch_centre")

    def __init__(
        self,
        backbone: Backbone,
        out_dim: int = 65536,
        head_dims: tuple[int, int] = (2048, 256),
        student_temperature: float = 0.1,
        teacher_temperature: tuple[float, float] = (0.04, 0.07),
        warmup_temperature: float = 0.3,
        momentum: float = 0.996,
        centre_momentum: float = 0.9,
        freeze_last: float = 0.01,
        patch_weight: float = 0.0,
        mask_ratio: float = 0.3,
        shared_head: bool = True,
    ) -> None:
        check_range("patch_weight", patch_weight, 0)
        if patch_weight and not isinstance(backbone, SequenceBackbone | PyramidBackbone):
            raise TierError(
                f"a loss on hidden patches needs a SequenceBackbone or PyramidBackbone model, and "
                f"{type(backbone).__name__} is none: set patch_weight to 0."
            )
        self.reads = "all" if patch_weight else "pooled"
        super().__init__(backbone)
        check_range("out_dim", out_dim, 2)
        for width in head_dims:
            check_range("head_dims", width, 1)
        for temperature in (student_temperature, *teacher_temperature):
            check_range("temperature", temperature, 1e-3)
        check_range("warmup_temperature", warmup_temperature, 0, 1)
        check_range("momentum", momentum, 0, 1)
        check_range("freeze_last", freeze_last, 0, 1)
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.warmup_temperature, self.freeze_last = warmup_temperature, freeze_last
        self.momentum, self.patch_weight, self.mask_ratio = momentum, patch_weight, mask_ratio
        self.progress = 0.0

        self.head = ProjectionHead(backbone.pooled_dim, *head_dims, out_dim)
        self.centre = Centre(out_dim, centre_momentum)
        if patch_weight:
            self._add_patches(head_dims, out_dim, centre_momentum, shared_head)
        like = next(backbone.parameters())
        self.to(like.device, like.dtype)
        self.teacher = Teacher(self.parts)

    def _add_patches(
        self, head_dims: tuple[int, int], out_dim: int, centre_momentum: float, shared_head: bool
    ) -> None:
        """What the loss on patches needs."""
        self.needs_whole_cells()
        dim, pooled_dim = self.layout.dim, self.backbone.pooled_dim
        if shared_head and dim != pooled_dim:
            raise ConfigError(
                f"patches of width {dim} do not fit a head for {pooled_dim} pooled features: "
                "set shared_head to False."
            )
        if not shared_head:
            self.patch_head = ProjectionHead(dim, *head_dims, out_dim)
        self.patch_centre = Centre(out_dim, centre_momentum)
        self.mask_token = nn.Parameter(torch.empty(1, 1, self.layout.embedded_dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.keep_indices = int((~self.draw(1)).sum())

    @property
    def parts(self) -> dict[str, nn.Module]:
        """What the teacher is a copy of."""
        named = self.named_children()
        return {name: part for name, part in named if name in ("backbone", "head", "patch_head")}

    def draw(self, batch: int, device: torch.device | None = None) -> Tensor:
        """A new mask: bool (batch, N), True where hidden."""
        return random_mask(batch, self.layout.grid, self.mask_ratio, device=device)

    def forward(
        self, images: list[Tensor], targets: Tensor | None = None, mask: Tensor | None = None
    ) -> Loss:
        """images: crops (B, C, *size) of the same images, two global ones first, then any number of
        local ones. `targets` are not read.

        mask: bool (2 B, N), True where hidden, as many in each row; None draws one.
        """
        del targets
        if isinstance(images, Tensor) or len(images) < GLOBAL:
            raise ConfigError("DINO compares crops: give it a list of them, two global ones first.")
        whole = torch.cat(images[:GLOBAL])
        teacher = self.result()
        with torch.no_grad():
            known = teacher.features(whole)
            logits = _exact(self.teacher.get_submodule("head")(teacher.pool(known)))
            told = self.centre(logits, self.temperature).unflatten(0, (GLOBAL, -1))
        if self.patch_weight:
            mask = self.draw(len(whole), whole.device) if mask is None else mask
            hidden = split(mask, self.keep_indices)[1]
            embedded = embed_hidden(self.backbone, whole, mask, self.layout.grid)
            embedded = mark(embedded, mask, self.layout.grid, self.mask_token)
        else:
            embedded = self.backbone.embed(whole)
        seen = self.backbone.encode(embedded)
        pooled = [self.backbone.pool(seen)]
        for _, crops in itertools.groupby(images[GLOBAL:], key=lambda crop: crop.shape):
            pooled.append(self.backbone.pool(self.backbone.features(torch.cat(list(crops)))))
        logits = _exact(self.head(torch.cat(pooled), self.student_temperature))
        logits = logits.unflatten(0, (len(images), -1))
        loss, metrics = cross_entropy(logits, told), self._metrics(logits, told)
        if not self.patch_weight:
            return Loss(loss, metrics)
        patch_loss = self._patch_loss(take(seen.patches, hidden), take(known.patches, hidden))
        metrics |= {"view_loss": loss.detach(), "patch_loss": patch_loss.detach()}
        return Loss(loss + self.patch_weight * patch_loss, metrics)

    def _patch_loss(self, seen: Tensor, known: Tensor) -> Tensor:
        """Cross-entropy at hidden places: seen by the student, known to the teacher (2 B, M, D)."""
        name = "patch_head" if "patch_head" in self.parts else "head"
        with torch.no_grad():
            logits = _exact(self.teacher.get_submodule(name)(known))
            told = self.patch_centre(logits, self.temperature)
        logits = _exact(getattr(self, name)(seen, self.student_temperature))
        return -(told * logits.log_softmax(-1)).sum(-1).mean()

    @torch.no_grad()
    def _metrics(self, logits: Tensor, told: Tensor) -> dict[str, Tensor]:
        same = logits[:GLOBAL].argmax(-1).flip(0) == told.argmax(-1)
        return {
            "teacher_entropy": _entropy(told).mean(),
            "mean_entropy": _entropy(told.mean((0, 1))),
            "agreement": same.to(told.dtype).mean(),  # on the prototype, of two global crops
            "centre_norm": self.centre.value.norm(),
        }

    @property
    def temperature(self) -> float:
        """The teacher's, now."""
        start, end = self.teacher_temperature
        warm = min(self.progress / self.warmup_temperature, 1) if self.warmup_temperature else 1
        return start + (end - start) * warm

    def before_step(self, progress: float) -> None:
        """Sets what depends on the part of training that is done."""
        self.progress = progress
        for part in self.parts.values():
            if isinstance(part, ProjectionHead):
                part.last.frozen = progress < self.freeze_last

    def after_step(self) -> None:
        """The teacher follows."""
        left = (1 + math.cos(math.pi * self.progress)) / 2
        self.teacher.update(self.parts, 1 - (1 - self.momentum) * left)

    def result(self) -> Backbone:
        """The teacher's backbone, which is better than the student's throughout training."""
        return cast(Backbone, self.teacher.backbone)


class Centre(nn.Module):
    """The moving average of logits over all processes, and what it leaves of them."""

    value: Tensor

    def __init__(self, dim: int, momentum: float) -> None:
        super().__init__()
        check_range("centre_momentum", momentum, 0, 1)
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(dim))

    @torch.no_grad()
    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        """logits (..., K) → probabilities (..., K). In training the centre moves, afterwards."""
        told = (logits - self.value).div_(temperature).softmax(-1)
        if self.training:
            mean = distributed.mean(logits.flatten(0, -2).mean(0))
            self.value.lerp_(mean.to(self.value), 1 - self.momentum)
        return told


def cross_entropy(logits: Tensor, told: Tensor) -> Tensor:
    """logits (V, B, K) and probabilities told (G, B, K) of the first G views → the mean, ().

    Over images and pairs of a view told of and another one.
    """
    views, batch = logits.shape[:2]
    log_probabilities = logits.log_softmax(-1).flatten(1)
    with torch.autocast(logits.device.type, enabled=False):
        pairs = told.flatten(1) @ log_probabilities.T  # (G, V)
    return -(pairs.sum() - pairs.trace()) / (len(told) * (views - 1) * batch)


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(-1)


def _exact(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
