"""Distillation beside DeiT's code, whose arithmetic is written anew, and vit-pytorch's wrapper."""

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vit_pytorch.distill import DistillableViT, DistillWrapper

from parity.oracle import images, randomise
from parity.pairs import from_timm
from vitrail.methods.base import Batch
from vitrail.methods.distill import Distill, distillation_loss
from vitrail.models.vit import ViT

CLASSES = 7
SMALL = {
    "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4,
    "num_classes": CLASSES,
}  # fmt: skip


def deit_code(
    outputs: Any, teacher: Tensor, targets: Tensor, kind: str, alpha: float, temperature: float
) -> Tensor:
    """What facebookresearch/deit computes, term by term; its criterion smooths labels by 0.1."""
    named, taught = outputs
    if targets.ndim == 1:
        targets = torch.eye(CLASSES, dtype=named.dtype)[targets]
    wanted = 0.9 * targets + 0.1 / CLASSES
    base = -(wanted * named.log_softmax(1)).sum(1).mean()
    if kind == "hard":
        chosen = torch.eye(CLASSES, dtype=named.dtype)[teacher.argmax(1)]
        other = -(chosen * taught.log_softmax(1)).sum(1).mean()
    else:
        sure = (teacher / temperature).softmax(1)
        unlike = (sure * (sure.log() - (taught / temperature).log_softmax(1))).sum()
        other = unlike * temperature**2 / taught.numel()
    return base * (1 - alpha) + other * alpha


@functools.cache
def two() -> tuple[Any, Any]:
    """Our DeiT and timm's with one set of weights; timm's gives both heads' logits."""
    ours, theirs = from_timm("deit_tiny_distilled_patch16_224", **SMALL)
    theirs.set_distilled_training(True)
    return ours.double(), theirs.double().train()


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("kind", "alpha"), [("hard", 0.5), ("hard", 0.2), ("soft", 0.3)])
def test_deits_loss_and_gradients(kind: str, alpha: float, mixed: bool) -> None:
    ours, theirs = two()
    pixels, teacher = (
        images(32, 32, batch=5).double(),
        nn.Sequential(nn.Flatten(), nn.Linear(3072, 7)),
    )
    randomise(teacher).double()
    targets = torch.arange(5)
    if mixed:
        targets = torch.rand(5, CLASSES).double().softmax(1)
    expected = deit_code(theirs(pixels), teacher(pixels).detach(), targets, kind, alpha, 3.0)
    # Theirs divides soft answers by the number of classes too; see the docstring for the way over.
    scale = 1.0
    if kind == "soft":
        mine = alpha / (alpha + CLASSES * (1 - alpha))
        scale, alpha = (1 - alpha) / (1 - mine), mine
    method = Distill(ours, teacher, kind, alpha, temperature=3.0).train()
    got = scale * method(Batch(images=pixels, labels=targets)).loss
    assert (got - expected).abs() <= 1e-9
    for model in (ours, theirs):
        model.zero_grad()
    expected.backward()
    got.backward()
    for mine, other in (
        (ours.head.cls, theirs.head),
        (ours.head.dist, theirs.head_dist),
        (ours.blocks[0].mlp.fc1, theirs.blocks[0].mlp.fc1),
    ):
        assert other.weight.grad.abs().max() > 1e-3
        torch.testing.assert_close(mine.weight.grad, other.weight.grad, rtol=0, atol=1e-9)


def wrapper(hard: bool, teacher: nn.Module) -> tuple[DistillWrapper, dict[str, Tensor]]:
    """vit-pytorch's, and the logits of its two heads in its last forward."""
    student = DistillableViT(
        image_size=32, patch_size=8, num_classes=CLASSES, dim=48, depth=2, heads=4, mlp_dim=96
    )
    made = DistillWrapper(
        teacher=teacher, student=student, temperature=3.0, alpha=0.3, hard=hard
    ).double()
    seen: dict[str, Tensor] = {}
    made.student.mlp_head.register_forward_hook(lambda *a: seen.update(named=a[2]))
    made.distill_mlp.register_forward_hook(lambda *a: seen.update(taught=a[2]))
    return made, seen


@pytest.mark.parametrize("hard", [False, True])
def test_vit_pytorchs_loss(hard: bool) -> None:
    pixels, targets = images(32, 32, batch=5).double(), torch.arange(5)
    teacher = randomise(nn.Sequential(nn.Flatten(), nn.Linear(3072, CLASSES))).double()
    made, seen = wrapper(hard, teacher)
    theirs = made(pixels, targets)
    kind = "hard" if hard else "soft"
    taught = distillation_loss(seen["taught"], teacher(pixels), kind, 3.0)
    ours = 0.7 * F.cross_entropy(seen["named"], targets) + 0.3 * taught
    assert taught > 0.1
    assert (ours - theirs).abs() <= 1e-9


def test_its_teacher_is_trained_along_and_ours_is_not() -> None:
    """vit-pytorch holds the teacher as a part: `train()` wakes it, and its batch norms drift."""

    def teacher() -> nn.Module:
        made = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3072, CLASSES))
        return randomise(made).double()

    pixels, targets = images(32, 32, batch=5).double(), torch.arange(5)
    theirs, ours = teacher(), teacher()
    made, _ = wrapper(True, theirs)
    student = ViT(32, 8, CLASSES, 48, 2, 4, 96)
    method = Distill(student, ours).double()
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    made.train()(pixels, targets)
    method.train()(Batch(images=pixels, labels=targets))
    for key, value in ours.state_dict().items():
        assert torch.equal(value, before[key])
    assert not torch.equal(theirs.state_dict()["0.running_mean"], before["0.running_mean"])
    assert any(k.startswith("teacher") for k in made.state_dict())
    assert not any(k.startswith("teacher") for k in method.state_dict())


def test_its_student_predicts_without_the_token_it_learned_with() -> None:
    """DeiT predicts with the mean of both heads; vit-pytorch's leaves token and head behind."""
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(3072, CLASSES))
    made, seen = wrapper(True, teacher.double())
    made.eval()
    pixels = images(32, 32).double()
    made(pixels, torch.arange(2))
    both = (seen["named"] + seen["taught"]) / 2
    alone = seen["named"].clone()
    predicted = made.student(pixels)
    assert not torch.allclose(predicted, alone)
    assert not torch.allclose(predicted, both)
    ours, theirs = (m.eval() for m in two())
    theirs.set_distilled_training(False)
    torch.testing.assert_close(ours(pixels), theirs(pixels), rtol=0, atol=1e-9)
    two.cache_clear()
