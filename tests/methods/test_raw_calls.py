"""What losses, heads, masks and averages are called with that they cannot use is one line."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.small import small
from vitrail.contract.methods import MethodCase, batch_for
from vitrail.errors import VitrailError
from vitrail.methods.base import Batch, Method
from vitrail.methods.beit import BEiTPretraining
from vitrail.methods.class_loss import classify
from vitrail.methods.dino import DINO
from vitrail.methods.dino_losses import Center, crop_cross_entropy, region_cross_entropy
from vitrail.methods.distill import Distill, distillation_loss
from vitrail.methods.ema_teacher import EMATeacher
from vitrail.methods.heads import ProjectionHead, Prototypes
from vitrail.methods.linear_probe import LinearProbe
from vitrail.methods.logistic import cross_entropy, logistic_regression
from vitrail.methods.masking import (
    add_mask_token,
    block_mask,
    random_mask,
    reconstruction_rows,
    resize_mask,
    shuffle_mask,
    split_mask,
    tube_mask,
    zero_cells,
)
from vitrail.methods.mpp import MPP
from vitrail.methods.multi_label import decide, weighted_mean
from vitrail.methods.regression import Regression
from vitrail.methods.simmim import SimMIM
from vitrail.methods.supervised import Supervised
from vitrail.methods.targets import class_targets, standardization
from vitrail.models.features import Features
from vitrail.models.surgery import resized
from vitrail.preprocess import Preprocess
from vitrail.train.knn import knn
from vitrail.train.optim import make_ema, parameter_groups
from vitrail.train.schedule import Schedule
from vitrail.train.streams import FeatureStream

IMAGES = torch.zeros(2, 3, 32, 32)
LOGITS, WEIGHTS = torch.zeros(4, 3), torch.ones(4, 1)
MASK = torch.arange(16).expand(2, 16) < 4
GRAY = Preprocess((32, 32), None, mean=(0.0,), std=(1.0,))


class Named(nn.Module):
    """A teacher whose classes have names."""

    labels = ("cat", "dog", "fox")


def distill(*labels: str) -> Distill:
    student = small("ViT", num_classes=len(labels))
    student.labels = list(labels)
    return Distill(student, Named())


def mpp(preprocess: Any) -> object:
    method = MPP(small("ViT"))
    method.backbone.preprocess = preprocess
    return method(torch.zeros(2, 3, 32, 32))


def with_other_head(method: type[Method]) -> object:
    """A loss of three numbers, where there were five."""
    model, numbers = small("ViT"), torch.zeros(2, 3)
    keywords: Any = {"target": "numbers"} if method is LinearProbe else {}
    probe = method(model, **keywords)
    model.reset_head(3)
    return probe(Batch(images=IMAGES, features=torch.zeros(2, 32), labels=numbers))


def on_a_resized(method: type[Method]) -> object:
    """A loss of cells of other pixels than those that the masks are of."""
    keywords: Any = {"out_dim": 8, "head_dims": (8, 4), "patch_weight": 1.0}
    pretraining = method(small("ViT"), **(keywords if method is DINO else {}))
    pretraining.backbone = resized(pretraining.backbone, 64)
    images = torch.zeros(2, 3, 64, 64)
    return pretraining(Batch(crops=(images, images)) if method is DINO else images)


CALLS: list[tuple[Callable[[], object], str]] = [
    (lambda: distillation_loss(LOGITS, LOGITS[:1], "soft", 1.0), r"student \(4, 3\) and of the te"),
    (lambda: distillation_loss(LOGITS[:0], LOGITS[:0], "soft", 1.0), r"shape \(0, 3\) are not \(s"),
    (lambda: distillation_loss(LOGITS, LOGITS, "hard", 1.0, WEIGHTS), r"weights of shape \(4, 1\)"),
    (lambda: distillation_loss(LOGITS, LOGITS, "soft", 0.0), "temperature=0.0 is not a number of"),
    (lambda: weighted_mean(LOGITS[:, 0], WEIGHTS), r"\(4, 1\) do not fit 4 samples: give \(4,\)"),
    (
        lambda: classify(LOGITS, torch.arange(4) % 3, 0.0, sample_weights=WEIGHTS),
        r"weights of shape \(4, 1\) do not fit 4 samples",
    ),
    (lambda: classify(LOGITS[:0], torch.arange(0), 0.0), r"outputs of shape \(0, 3\) are not \(s"),
    (
        lambda: classify(LOGITS, torch.arange(4) % 3, 0.0, class_weights=torch.ones(2)),
        "classify: .*3.*2.*class_weights of shape",
    ),
    (lambda: ProjectionHead(8, 16, 4, 32)(torch.zeros(2, 9)), r"x of shape \(2, 9\)"),
    (lambda: ProjectionHead(8, 0, 4, 32), "hidden_dim=0 is not a whole number of at least 1"),
    (lambda: ProjectionHead(8, 16, 4, 32)(torch.zeros(2, 8), 0.0), "temperature=0.0 is not a num"),
    (lambda: Center(8, 0.9)(torch.zeros(4, 1), 0.1), r"logits of shape \(4, 1\) are not \(..., 8"),
    (lambda: Center(8, 0.9)(torch.zeros(0, 8), 0.1), "give one or more rows"),
    (lambda: crop_cross_entropy(LOGITS[None], LOGITS[None]), "1 crops of the student, 1 of the te"),
    (lambda: crop_cross_entropy(torch.zeros(3, 2, 4), torch.zeros(2, 2, 5)), "give what fits"),
    (
        lambda: region_cross_entropy(
            torch.zeros(2, 5, 4), torch.zeros(2, 5, 8), torch.zeros(2, 3, 4), torch.zeros(2, 3, 9)
        ),
        "region_cross_entropy: .*9",
    ),
    (lambda: random_mask(-1, (4, 4), 0.5), "batch=-1 is not a whole number of at least 0"),
    (lambda: random_mask(1, 16, 0.5), "grid=16 is not a tuple"),  # type: ignore[arg-type]
    (lambda: tube_mask(1, (2, 0, 4), 0.5), r"grid=\(2, 0, 4\) is not a tuple"),
    (lambda: resize_mask(MASK, (4, 4), (4, 4, 2)), r"new \(4, 4, 2\)"),
    (lambda: resize_mask(MASK, (2, 2), (2, 2)), r"a mask of 16 patches has no grid \(2, 2\)"),
    (lambda: split_mask(MASK, 16), "visible=16 of 16 patches leaves none masked"),
    (lambda: zero_cells(torch.ones(3, 1, 16), MASK, (16,)), r"shape \(2, 16\) does not fit 3 imag"),
    (
        lambda: add_mask_token(
            Features.from_map(torch.zeros(3, 16, 8)), MASK, (16,), torch.ones(1, 1, 8)
        ),
        r"patch_mask of shape \(2, 16\) does not fit 3 images",
    ),
    (lambda: mpp(None), r"preprocess=None does not say how .*Preprocess.for_size\(model.image_s"),
    (lambda: mpp(GRAY), "images of 3 channels were normalized"),
    (lambda: DINO(small("ViT"), 8, (8, 4), temperature_levels=1), "use 0 for a new one in each st"),
    (lambda: distill("cat", "dog"), "has 3 classes and the images 2, and only one side has fox"),
    (lambda: distill("cat", "dog", "fox", "owl"), "3 classes and the images 4, .* side has owl"),
    (
        lambda: make_ema(Supervised(small("ViT", depth=1)), 0.9).update_parameters(
            Supervised(small("ViT", depth=2))
        ),
        "does not fit a model of .*: update it by the model that it was made of",
    ),
    (
        lambda: EMATeacher({"head": nn.Linear(2, 2)}).update({"head": nn.Linear(2, 3)}, 0.5),
        r"the first that differ \(2, 2\) and \(3, 2\): update",
    ),
    (
        lambda: parameter_groups(
            Supervised(small("ViT").requires_grad_(False)), lr=1.0, weight_decay=0.0
        ),
        r"no weight of this Supervised learns: call requires_grad_\(\)",
    ),
    (lambda: MethodCase("dino").on("ViT").before_step("half"), "progress='half' is no fraction"),  # type: ignore[arg-type]
    (
        lambda: with_other_head(Regression),
        "has 3 outputs, and had 5 when its method was made: make",
    ),
    (
        lambda: with_other_head(LinearProbe),
        "has 3 outputs, and had 5 when its method was made: make",
    ),
    (
        lambda: on_a_resized(SimMIM),
        "SimMIM was made for 32 x 32 pixels, and its ViT is for 64 x 64",
    ),
    (lambda: on_a_resized(DINO), "DINO was made for 32 x 32 pixels, .*: make the method after"),
    (
        lambda: FeatureStream(torch.zeros(4, 2), torch.zeros(4, 3), 2, balanced=True),
        r"balanced=True is for one class per sample, and labels have shape \(4, 3\)",
    ),
    (
        lambda: logistic_regression(LOGITS, torch.arange(4) % 3, torch.zeros(2, 5), 3),
        r"a bank \(4, 3\) cannot classify queries \(2, 5\)",
    ),
    (
        lambda: Supervised(nn.DataParallel(small("ViT"))),  # type: ignore[arg-type]
        "needs the model inside this DataParallel: give that one, and wrap or compile the method",
    ),
    (lambda: standardization(LOGITS[:0], LOGITS), r"outputs of shape \(0, 3\) are not"),
    (lambda: Schedule(3).apply(None, 0), "optimizer=None is not an Optimizer"),  # type: ignore[arg-type]
    (
        lambda: BEiTPretraining(small("ViT"), "dalle"),  # type: ignore[arg-type]
        "'dalle' cannot be called: give a network or a function",
    ),
    (lambda: weighted_mean([1.0], None), r"losses=\[1.0\] is not a Tensor"),  # type: ignore[arg-type]
    (lambda: decide(LOGITS, Batch(labels=LOGITS), 2.0), "label_smoothing=2.0 is not a number of"),
    (lambda: Center(0, 0.9), "dim=0 is not a whole number of at least 1"),
    (lambda: Center(3, 0.9)(LOGITS, 0.0), "temperature=0.0 is not a number of above 0"),
    (lambda: Prototypes(4, 0), "out_dim=0 is not a whole number of at least 1"),
    (lambda: Prototypes(4, 6)(LOGITS), r"x of shape \(4, 3\)"),
    (lambda: cross_entropy(LOGITS, LOGITS[:, :2]), r"labels of shape \(4, 2\)"),
    (lambda: shuffle_mask(torch.zeros(3), 0.5), r"noise of shape \(3,\)"),
    (lambda: block_mask(-1, (4, 4), 0.5), "batch=-1 is not a whole number of at least 0"),
    (lambda: split_mask(MASK, 0), "visible=0 is not a whole number of at least 1"),
    (
        lambda: zero_cells(torch.ones(2, 1, 16, 16), MASK, (16,)),
        r"images of shape \(2, 1, 16, 16\)|new",
    ),
    (
        lambda: add_mask_token(
            Features.from_map(torch.zeros(2, 16, 8)), MASK, (16,), torch.ones(1, 1, 3)
        ),
        r"mask_token of shape \(1, 1, 3\)",
    ),
    (
        lambda: reconstruction_rows(IMAGES, MASK, (16,), torch.zeros(2, 1).long(), LOGITS),
        r"grid \(16,\)",
    ),
    (lambda: knn(LOGITS / 0, torch.zeros(4).long(), LOGITS, 1), "features hold nan, and a loss"),
    (lambda: knn(LOGITS, torch.zeros(4).long(), LOGITS / 0, 1), "queries hold nan"),
    (lambda: knn(LOGITS, torch.zeros(4).long(), LOGITS, 0), "classes=0 is not a whole number"),
]


@pytest.mark.parametrize(("call", "message"), CALLS)
def test_a_call_that_cannot_work_is_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(VitrailError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_an_average_is_of_the_method_that_is_trained() -> None:
    method = Supervised(small("ViT", depth=1))
    ema = make_ema(method, 0.9)
    ema.update_parameters(method)
    with pytest.raises(VitrailError, match="an EMA of"):
        ema.update_parameters(Supervised(small("ViT", depth=1, dim=64)))
    ema.update_parameters(method)
    assert int(ema.n_averaged) == 2


@pytest.mark.parametrize("affine", [True, False])
def test_any_batch_norm_of_what_is_frozen_keeps_its_statistics(*, affine: bool) -> None:
    model = small("ViT")
    frozen: Any = nn.Sequential(nn.SyncBatchNorm(4, affine=affine), nn.Linear(1, 1))
    learning: Any = nn.Sequential(nn.BatchNorm1d(4, affine=affine), nn.Linear(1, 1))
    model.frozen, model.learning = frozen.requires_grad_(False), learning
    Supervised(model).train()
    assert [frozen[0].training, learning[0].training] == [False, True]


def test_class_indices_are_not_read_where_a_program_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert class_targets(torch.tensor([7]), LOGITS[:1]) == 7


def test_masks_of_any_batch_are_drawn() -> None:
    assert random_mask(0, (4, 4), 0.5).shape == (0, 16)
    assert random_mask(2, [4, 4], 0.5).sum() == 16  # type: ignore[arg-type]
    batch = Batch(images=torch.zeros(2, 3, 32, 32), patch_mask=MASK)
    assert MPP(small("ViT"))(batch).loss.isfinite()


def test_the_focal_factor_has_a_gradient_at_certainty() -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    classify(logits, torch.tensor([0]), 0.0, focal=0.5).loss.backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_a_tokenizer_of_images_learns_in_half_precision() -> None:
    method = MethodCase("dvae").on("ViT").bfloat16()
    images = batch_for(method)["images"].bfloat16()
    loss = method(images).loss
    assert loss.isfinite() and loss.dtype == torch.float32
