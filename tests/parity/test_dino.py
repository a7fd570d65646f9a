"""DINO's and iBOT's arithmetic, as their authors' code states it, written out again in loops; and
lightly's, where it is installed.
"""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.small import small
from vitrail.methods.base import Batch
from vitrail.methods.dino import DINO
from vitrail.methods.dino_losses import Center, crop_cross_entropy
from vitrail.methods.heads import ProjectionHead

VIEWS, BATCH, K, EXACT = 5, 6, 12, 1e-9
SETTINGS = {"out_dim": K, "head_dims": (24, 8), "momentum": 0.8, "freeze_last": 0.0}


def close(one: Tensor, other: Tensor, tolerance: float = EXACT) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def softmax(x: Tensor) -> Tensor:
    powers = torch.exp(x - x.max())
    return powers / powers.sum()


def oracle(student: list[Tensor], teacher: list[Tensor], center: Tensor, sharp: float) -> Tensor:
    """Every pair of a teacher's view q and a student's view v ≠ q, image by image."""
    terms = []
    for q, told in enumerate(teacher):
        for v, logits in enumerate(student):
            if v != q:
                each = [
                    -(softmax((t - center) / sharp) * torch.log(softmax(s / 0.1))).sum()
                    for t, s in zip(told, logits, strict=True)
                ]
                terms.append(sum(each) / len(each))
    return sum(terms) / len(terms)


def by_hand(head: ProjectionHead, x: Tensor) -> Tensor:
    """The authors' head: a perceptron, length 1, rows of length 1."""
    first, _, second, _, third = head.mlp
    for layer in (first, second):
        x = x @ layer.weight.T + layer.bias
        x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    x = x @ third.weight.T + third.bias
    x = x / x.pow(2).sum(-1, keepdim=True).sqrt()
    rows = head.last.weight
    return x @ (rows / rows.pow(2).sum(1, keepdim=True).sqrt()).T


def test_loss_centre_and_gradient_over_several_steps() -> None:
    center, expected = Center(K, 0.9).double(), torch.zeros(K).double()
    for temperature in (0.04, 0.05, 0.07):
        student = torch.randn(VIEWS, BATCH, K, dtype=torch.float64, requires_grad=True)
        teacher = torch.randn(2, BATCH, K, dtype=torch.float64) / 5
        loss = crop_cross_entropy(student / 0.1, center(teacher, temperature))
        right = oracle(list(student), list(teacher), expected, temperature)
        expected = expected * 0.9 + teacher.sum((0, 1)) / (2 * BATCH) * (1 - 0.9)
        close(loss, right)
        close(center.value, expected)
        close(*(torch.autograd.grad(value, student)[0] for value in (loss, right)))


def test_whole_steps() -> None:
    """Three steps of SGD: student, teacher and center as by hand."""
    method = DINO(small("ViT"), warmup_temperature=0.5, **SETTINGS).double().train()
    student = nn.ModuleDict({"backbone": method.backbone, "head": method.head})
    student, teacher = copy.deepcopy(student), copy.deepcopy(student)
    optimizers = [
        torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=0.5)
        for m in (method, student)
    ]
    center = torch.zeros(K).double()
    for step in range(3):
        crops = [torch.randn(BATCH, 3, side, side).double() for side in (32, 32, 16, 16, 24)]
        method.before_step(step / 3)
        loss, _ = method(Batch(crops=tuple(crops)))
        with torch.no_grad():
            told = [by_hand(teacher["head"], teacher["backbone"](x)) for x in crops[:2]]
        seen = [by_hand(student["head"], student["backbone"](x)) for x in crops]
        sharp = min(0.04 + (0.07 - 0.04) * step / 3 / 0.5, 0.07)
        right = oracle(seen, told, center, sharp)
        center = 0.9 * center + 0.1 * torch.cat(told).mean(0)
        for optimizer, value in zip(optimizers, (loss, right), strict=True):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        method.after_step()
        momentum = 1 - 0.2 * (math.cos(math.pi * step / 3) + 1) / 2
        with torch.no_grad():
            for mine, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
                mine.copy_(momentum * mine + (1 - momentum) * theirs)
        close(loss, right)
        close(method.center.value, center)
        for mine, theirs in ((method, student), (method.teacher, teacher)):
            for name, parameter in theirs.named_parameters():
                close(mine.get_parameter(name), parameter)


def test_ibots_loss_on_patches() -> None:
    """Its authors' form: all places, weighted by the mask, each image by its own count."""
    settings = {**SETTINGS, "patch_weight": 0.7, "shared_head": False, "mask_ratio": 0.4}
    method = DINO(small("ViT"), **settings).double().train()
    nn.init.normal_(method.patch_center.value, std=0.1)
    given = method.patch_center.value.clone()
    crops = [torch.randn(BATCH, 3, 32, 32).double() for _ in range(2)]
    mask = method.sample_mask(2 * BATCH)
    whole = torch.cat(crops)
    holes = mask.reshape(-1, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2)
    features = method.backbone.embed(whole * ~holes[:, None])
    patches = features.patches + mask[..., None] * method.mask_token(1)
    student = method.backbone.encode(features._replace(patches=patches))
    logits = by_hand(method.patch_head, student.patches) / 0.1
    with torch.no_grad():
        known = method.teacher.backbone.features(whole)
        views = by_hand(method.teacher.head, known.prefix[:, 0]).chunk(2)
        known = by_hand(method.teacher.patch_head, known.patches)
    told = torch.softmax((known - given) / 0.04, -1)
    each = -(told * torch.log_softmax(logits, -1)).sum(-1)
    right = ((each * mask).sum(1) / mask.sum(1)).mean()
    loss, metrics = method(Batch(crops=tuple(crops), patch_mask=mask))
    close(metrics["patch_loss"], right)
    seen = by_hand(method.head, student.prefix[:, 0]).chunk(2)
    right = oracle(seen, views, torch.zeros(K), 0.04) + 0.7 * right
    close(loss, right)
    close(method.patch_center.value, 0.9 * given + 0.1 * known[mask].mean(0))
    parameters = [p for p in method.parameters() if p.requires_grad]
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, right))
    for one, other in zip(ours, theirs, strict=True):
        close(one, other)


class TestLightly:
    """Temperatures here are sums of powers of 2, because lightly rounds its own to float32."""

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("lightly", reason="lightly is not installed")

    def test_loss_and_centre(self) -> None:
        from lightly.loss import DINOLoss

        center, theirs = Center(K, 0.9).double(), DINOLoss(K).double()
        for temperature in (0.03125, 0.0625):
            student = torch.randn(VIEWS, BATCH, K, dtype=torch.float64, requires_grad=True)
            teacher = torch.randn(2, BATCH, K, dtype=torch.float64) / 5
            loss = crop_cross_entropy(student / 0.1, center(teacher, temperature))
            right = theirs(list(teacher), list(student), teacher_temp=temperature)
            close(loss, right)
            close(center.value, theirs.center.flatten())
            close(*(torch.autograd.grad(value, student)[0] for value in (loss, right)))

    @pytest.mark.filterwarnings("ignore::FutureWarning")
    def test_head(self) -> None:
        from lightly.models.modules import DINOProjectionHead

        theirs = DINOProjectionHead(16, 24, 8, K).double()
        ours = ProjectionHead(16, 24, 8, K).double()
        values = [v for n, v in theirs.state_dict().items() if not n.endswith("weight_g")]
        ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
        x = torch.randn(BATCH, 16, dtype=torch.float64, requires_grad=True)
        close(ours(x), theirs(x))
        close(ours(x, 0.1), theirs(x) / 0.1)
        slopes = torch.randn(BATCH, K).double()
        of_ours, of_theirs = [*ours.parameters(), x], [*theirs.layers.parameters(), x]
        of_ours = [of_ours[-2], *of_ours[:-2], x]
        of_theirs = [theirs.last_layer.weight_v, *of_theirs]
        for one, other in zip(
            torch.autograd.grad((ours(x) * slopes).sum(), of_ours),
            torch.autograd.grad((theirs(x) * slopes).sum(), of_theirs),
            strict=True,
        ):
            close(one, other)

    def test_patch_loss(self) -> None:
        from lightly.loss import IBOTPatchLoss

        settings = {**SETTINGS, "patch_weight": 1.0, "teacher_temperature": (0.0625, 0.0625)}
        method = DINO(small("ViT"), **settings).double().train()
        theirs = IBOTPatchLoss(K, teacher_temp=0.0625).double()
        mask = torch.arange(16).expand(BATCH, 16) % 4 == 0
        for _ in range(2):
            seen, known = torch.randn(2, BATCH, 4, 32, dtype=torch.float64)
            loss = method._patch_loss(seen, known)
            flat = (by_hand(method.teacher.head, known), by_hand(method.head, seen))
            right = theirs(*(x.flatten(0, 1) for x in flat), mask.reshape(BATCH, 4, 4))
            close(loss, right)
            close(method.patch_center.value, theirs.center.value.flatten())


def test_the_oracle_can_tell() -> None:
    """Same views compared, no center, exchanged temperatures: each differs by far more."""
    student, teacher = torch.randn(VIEWS, BATCH, K), torch.randn(2, BATCH, K) / 5
    right = oracle(list(student), list(teacher), torch.full((K,), 0.1).cumsum(0), 0.04)
    told = F.softmax((teacher - torch.full((K,), 0.1).cumsum(0)) / 0.04, -1)
    close(crop_cross_entropy(student / 0.1, told), right, 1e-4)
    same = -torch.einsum("gbk,vbk->gvb", told, (student / 0.1).log_softmax(-1)).mean()
    soft = crop_cross_entropy(student / 0.04, F.softmax(teacher / 0.1, -1))
    for wrong in (same, soft, crop_cross_entropy(student / 0.1, F.softmax(teacher / 0.04, -1))):
        assert abs(wrong - right) > 1e-2
