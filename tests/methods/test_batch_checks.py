"""What a batch may not hold is one line, whatever the method; a GPU is never asked."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.small import small
from vitrail.contract.methods import MethodCase, batch_for
from vitrail.errors import ConfigError, DataError
from vitrail.methods.base import Batch, Loss, Method
from vitrail.methods.batch_checks import check_batch, check_label_values
from vitrail.methods.beit import BEiTPretraining
from vitrail.methods.dino import DINO
from vitrail.methods.distill import Distill, distillation_loss
from vitrail.methods.dvae import DVAE
from vitrail.methods.ema_teacher import EMATeacher
from vitrail.methods.linear_probe import LinearProbe
from vitrail.methods.mae import MAE
from vitrail.methods.masking import random_mask, resize_mask, split_mask
from vitrail.methods.memory import LearnableMemory
from vitrail.methods.mp3 import MP3
from vitrail.methods.mpp import MPP
from vitrail.methods.multi_label import MultiLabel
from vitrail.methods.registry import get_method, list_methods
from vitrail.methods.regression import Regression
from vitrail.methods.simmim import SimMIM
from vitrail.methods.supervised import Supervised

NAN, INF = float("nan"), float("inf")
WRONG: list[tuple[type[Method], dict[str, Any], str]] = [
    (Supervised, {"weights": [1.0, -1.0]}, "weights hold -1, and no sample counts less than"),
    (Supervised, {"weights": [1.0, NAN]}, "weights hold nan, and a loss needs finite numbers"),
    (Supervised, {"weights": [INF, 1.0]}, "weights hold inf"),
    (Supervised, {"labels": [[1.0, 1.0, 0, 0, 0]] * 2}, "sample sum to 2, not to 1: divide"),
    (Supervised, {"labels": [[0.2] * 5, [0.0] * 5]}, "sum to 0, not to 1"),
    (Supervised, {"labels": [[1.5, -0.5, 0, 0, 0]] * 2}, "labels hold -0.5, and a label .* class"),
    (MultiLabel, {"labels": [[1.0, 2.0, 0, 0, 0]] * 2}, "labels hold 2, .* 0, 1 or a probability"),
    (MultiLabel, {"labels": [[-1.0, 1, 1, 1, 1]] * 2}, "labels hold -1, and a label"),
    (MultiLabel, {"labels": [[NAN] * 5] * 2}, "labels hold nan"),
    (Regression, {"labels": [[NAN] * 5] * 2}, "labels hold nan, and a loss needs finite numbers"),
    (Regression, {"labels": [[0, 0, -INF, 0, 0]] * 2}, "labels hold -inf"),
]


@pytest.mark.parametrize(("method", "fields", "message"), WRONG)
def test_a_value_that_no_sample_has_is_one_line(
    method: type[Method], fields: dict[str, Any], message: str
) -> None:
    tensors: dict[str, Any] = {name: torch.tensor(value) for name, value in fields.items()}
    batch = Batch(
        **{"images": torch.zeros(2, 3, 32, 32), "labels": torch.tensor([0, 1]), **tensors}
    )
    with pytest.raises(DataError, match=message):
        method(small("ViT"))(batch)


@pytest.mark.parametrize("name", list_methods())
def test_every_method_refuses_an_empty_batch_and_hides_nothing_that_is_not_finite(
    name: str,
) -> None:
    case = MethodCase(name)
    method = case.on(case.models()[0])
    batch, field = batch_for(method), method.inputs[0]
    value = getattr(batch, field)
    empty: dict[str, Any] = {
        key: tuple(v[:0] for v in value) if key == "crops" else getattr(batch, key)[:0]
        for key in batch.names()
    }
    with pytest.raises(DataError, match=r"the batch holds \w+ of 0 samples: give at least"):
        method(Batch(**empty))
    wrong = value[0].index_fill(0, torch.tensor(0), NAN) if field == "crops" else value.clone()
    wrong[0] = NAN
    fields = {key: getattr(batch, key) for key in batch.names()}
    fields[field] = (wrong, *value[1:]) if field == "crops" else wrong
    assert not method(Batch(**fields)).loss.isfinite()  # which the trainer treats as it is told


def test_images_without_a_batch_are_checked_too() -> None:
    mae = MAE(small("ViT"), decoder_dim=8, decoder_heads=2, decoder_depth=1)
    with pytest.raises(DataError, match="images of 0 samples: give at least 1"):
        mae(torch.zeros(0, 3, 32, 32))


def test_a_method_that_compares_samples_needs_two() -> None:
    clip = MethodCase("clip").on("ViT")
    with pytest.raises(DataError, match="images of 1 samples: give at least 2"):
        clip(batch_for(clip, 1))


def test_weights_are_used_or_refused() -> None:
    weighing = {name for name in list_methods() if get_method(name).weighs_samples}
    probes = {"linear_probe", "attentive_probe"}
    assert weighing == {"supervised", "multi_label", "regression", "distill", "memory", *probes}
    batch = Batch(images=torch.zeros(2, 3, 32, 32), weights=torch.ones(2))
    with pytest.raises(DataError, match="SimMIM does not weigh samples: leave the weights out"):
        SimMIM(small("ViT"))(batch)
    probe = LinearProbe(small("ViT"), start="logistic")
    with pytest.raises(ConfigError, match="start='logistic' weighs all samples alike"):
        probe.fit_statistics(
            Batch(features=torch.randn(2, 32), labels=torch.tensor([0, 1]), weights=torch.ones(2))
        )


@pytest.mark.parametrize("name", [n for n in list_methods() if get_method(n).weighs_samples])
def test_a_sample_of_weight_2_counts_as_two(name: str) -> None:
    method = MethodCase(name).on("ViT").eval()
    batch = batch_for(method, 3)
    twice = torch.tensor([0, 1, 1, 2])
    repeated = Batch(**{key: getattr(batch, key)[twice] for key in batch.names()})
    fields = {key: getattr(batch, key) for key in batch.names()}
    weighted = Batch(**fields, weights=torch.tensor([1.0, 2.0, 1.0]))
    torch.testing.assert_close(method(weighted).loss, method(repeated).loss)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_both_heads_of_a_distilled_model_weigh_samples(alpha: float) -> None:
    model = small("DeiT").eval()
    images, labels = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    method = Distill(model, lambda x: x.flatten(1)[:, :5], "soft", alpha=alpha).eval()
    second = Batch(images=images, labels=labels, weights=torch.tensor([0.0, 3.0]))
    alone = Batch(images=images[1:], labels=labels[1:])
    torch.testing.assert_close(method(second).loss, method(alone).loss)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_the_mean_over_a_batch_is_that_of_its_formula(kind: Any) -> None:
    student, teacher = torch.randn(4, 3).double(), torch.randn(4, 3).double()
    if kind == "hard":
        expected = F.cross_entropy(student, teacher.argmax(1))
    else:
        logs = (student / 2).log_softmax(1), (teacher / 2).log_softmax(1)
        expected = 4 * F.kl_div(*logs, reduction="batchmean", log_target=True)
    torch.testing.assert_close(distillation_loss(student, teacher, kind, 2.0), expected)


def test_rounded_and_whole_probabilities_are_taken() -> None:
    rows = torch.rand(8, 1000, generator=torch.Generator().manual_seed(0)).softmax(1)
    for labels in (rows.bfloat16(), rows.half(), F.one_hot(torch.arange(3)), torch.eye(3).bool()):
        check_label_values(labels, None, "class")
    check_label_values(torch.tensor([[0.25, 1.0], [0, 0]]), torch.tensor([True, False]), "labels")
    check_label_values(torch.tensor([[-3.0, 1e9]]), torch.tensor([0, 2]), "numbers")
    large = Batch(images=torch.full((2, 3, 32, 32), 1e38), labels=torch.tensor([0, 1]))
    check_batch(Supervised(small("ViT")), large)  # finite, and its sum is not


def test_own_methods_may_weigh_samples_and_values_of_a_device_are_not_read() -> None:
    class Own(Method):
        weighs_samples = True

        def forward(self, batch: Batch) -> Loss:
            return Loss(self.backbone(batch["images"]).mean(), {})

    method = Own(small("ViT"))
    images = torch.zeros(2, 3, 32, 32)
    assert (
        method(Batch(images=images, labels=torch.zeros(2), weights=torch.ones(2))).loss.shape == ()
    )
    away = Batch(images=images, labels=torch.zeros(2), weights=-torch.ones(2)).to("meta")
    check_batch(method, away)  # reading it would raise


def test_masks_and_crops_of_dino_fit_each_other() -> None:
    crops = torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 32, 32)
    dino: Any = DINO(small("ViT"), 16, (24, 8), patch_weight=1.0)
    mask = torch.zeros(2, 16, dtype=torch.bool).index_fill(1, torch.arange(4), True)
    with pytest.raises(DataError, match="patch_mask has 2 rows for 4 global crops: give each"):
        dino(Batch(crops=crops, patch_mask=mask))
    assert dino(Batch(crops=crops, patch_mask=torch.cat([mask, mask]))).loss.isfinite()
    with pytest.raises(DataError, match="global crops of .* are compared as one batch"):
        dino([crops[0], crops[1][..., :24]])
    with pytest.raises(DataError, match="images of 2 samples and patch_mask of 3: give as many"):
        SimMIM(small("ViT"))(Batch(images=crops[0], patch_mask=torch.cat([mask, mask[:1]])))


TARGETS: list[tuple[type[Method], Any, str]] = [
    (Regression, torch.tensor([[NAN] * 5]), "labels hold nan"),
    (Regression, torch.zeros(0, 5), r"targets of shape \(0, 5\) are not \(samples, 5\)"),
    (Regression, torch.zeros(9, 1), r"targets of shape \(9, 1\) are not \(samples, 5\)"),
    (Supervised, torch.tensor([0, 5]), "label 5 is not within 0 to 4, the classes of the model"),
    (Supervised, torch.tensor([-1]), "label -1 is not within 0 to 4"),
    (Supervised, torch.zeros(2, 5), r"targets of shape \(2, 5\) are not \(samples,\)"),
    (LinearProbe, torch.tensor([7]), "label 7 is not within 0 to 4"),
]


@pytest.mark.parametrize(("method", "targets", "message"), TARGETS)
def test_labels_of_all_samples_are_checked_too(
    method: type[Method], targets: Tensor, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        method(small("ViT")).fit_targets(targets)


def test_a_task_has_classes_of_its_own() -> None:
    """A head of 5 classes stays, and the memory learns 7."""
    memory = LearnableMemory(small("ViT"), num_classes=7, class_weights="balanced")
    memory.fit_targets(torch.arange(7))
    with pytest.raises(DataError, match="label 7 is not within 0 to 6"):
        memory.fit_targets(torch.tensor([7]))


def test_statistics_are_of_finite_features_and_of_one_too() -> None:
    probe = LinearProbe(small("ViT"))
    features, labels = torch.randn(1, 32), torch.tensor([0])
    with pytest.raises(DataError, match="features hold -?inf"):
        probe.fit_statistics(Batch(features=features / 0, labels=labels))
    probe.fit_statistics(Batch(features=features, labels=labels))
    assert torch.equal(probe.feature_std, torch.ones(32))


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_a_teacher_without_an_answer_makes_no_finite_loss(kind: Any) -> None:
    """Its class of most logit would be the first."""
    method = Distill(small("ViT"), lambda images: images.new_full((len(images), 5), NAN), kind)
    batch = Batch(images=torch.zeros(2, 3, 32, 32), labels=torch.tensor([0, 1]))
    assert not method(batch).loss.isfinite()


def test_gradients_of_samples_can_be_taken() -> None:
    """Within transforms of torch.func there are no values to check."""
    method = Supervised(small("DeepViT")).eval()
    weight: Any = method.backbone.head.weight

    def loss(weight: Tensor, image: Tensor) -> Tensor:
        values = {"backbone.head.weight": weight}
        batch = Batch(images=image[None], labels=torch.tensor([[1.0, 0, 0, 0, 0]]))
        return torch.func.functional_call(method, values, (batch,)).loss

    of_each: Any = torch.func.vmap(torch.func.grad(loss), (None, 0))
    grads = of_each(weight.detach(), torch.rand(2, 3, 32, 32))
    assert grads.shape == (2, *weight.shape) and grads.abs().sum() > 0


IMAGES, LABELS = torch.zeros(2, 3, 32, 32), torch.tensor([0, 1])
MASK = torch.arange(16).expand(2, 16) < 4


def masked() -> MAE:
    return MAE(small("ViT"), decoder_dim=8, decoder_heads=2, decoder_depth=1)


CALLS: list[tuple[Callable[[], object], str]] = [
    (lambda: Batch(crops=(IMAGES,))["crops"], "crops are several tensors: take batch.crops"),
    (
        lambda: Supervised(small("ViT"))((IMAGES, LABELS)),
        r"got tuple: give vitrail.methods.Batch\(images=..., labels=...\)",
    ),
    (
        lambda: Supervised(small("ViT"))(IMAGES, LABELS),
        r"got Tensor, Tensor: give vitrail.methods.Batch\(images=..., labels=...\)",
    ),
    (lambda: Batch(labels=torch.tensor(1)), "labels is a single number: give one entry per sample"),
    (lambda: Batch(images="cat.jpg"), r"of type str are no tensor: .* model.preprocess\(images\)"),
    (
        lambda: Supervised(small("ViT")).fit_targets([0, 1]),
        r"targets of type list are no tensor: give torch.as_tensor\(targets\)",
    ),
    (
        lambda: LinearProbe(small("ViT")).fit_statistics(IMAGES),
        r"data is of Tensor: give vitrail.methods.Batch\(features=..., labels=...\)",
    ),
    (
        lambda: LinearProbe(small("ViT"))(Batch(features=torch.ones(2, 32) * 1j, labels=LABELS)),
        r"features are complex, and a linear layer reads real ones: take .abs\(\)",
    ),
    (lambda: SimMIM(small("ViT"))(IMAGES.transpose(1, 3)), r"input of shape \(2, 32, 32, 3\) does"),
    (lambda: MPP(small("ViT"))(IMAGES[..., :16]), r"images of \(32, 16\) pixels do not fit masks"),
    (lambda: DVAE(small("ViT")).tokens(IMAGES.transpose(1, 3)), "does not fit a model for 3-ch"),
    (lambda: split_mask(torch.tensor([True])), r"a mask of shape \(1,\) .* give bool \(images"),
    (lambda: resize_mask(MASK, (2, 2), (4, 4)), r"a mask of 16 patches has no grid \(2, 2\)"),
    (lambda: Batch(images=[1.0]), r"images of type list are no tensor: give .* torch.as_tensor\(i"),
    (lambda: Batch(labels=LABELS.numpy()), "labels of type ndarray are no tensor"),
    (lambda: Batch(crops=[IMAGES, None]), "crops of type NoneType are no tensor"),
    (lambda: Batch(captions=["a cat"]), r"captions of type list .* method.tokenizer\(captions\)"),
    (
        lambda: Supervised(small("ViT"))(Batch(images=IMAGES, labels=LABELS.to("meta"))),
        r"images on cpu and labels on meta: move all by batch.to\('cpu'\)",
    ),
    (
        lambda: Supervised(small("ViT"))(
            Batch(images=IMAGES, labels=LABELS, weights=torch.ones(2, 1))
        ),
        r"weights of shape \(2, 1\) are not \(samples\): reshape them",
    ),
    (
        lambda: Supervised(small("ViT"))(Batch(images=IMAGES, labels=LABELS, patch_mask=MASK)),
        "Supervised masks nothing: leave the patch_mask out",
    ),
    (
        lambda: masked()(Batch(images=IMAGES, patch_mask=MASK[:, :9])),
        r"2 images on a grid of 4 x 4 patches: give \(2, 16\)",
    ),
    (lambda: masked().predict(IMAGES, MASK.float()), "patch_mask of torch.float32 is no mask"),
    (lambda: masked().predict(IMAGES, MASK[:1]), "images of 2 samples and patch_mask of 1"),
    (lambda: masked().predict(IMAGES[:0]), "images of 0 samples: give at least 1"),
    (lambda: masked().reconstruct(IMAGES[:0]), "images of 0 samples: give at least 1"),
    (lambda: masked()(IMAGES[0]), r"input of shape \(3, 32, 32\) does not fit .* give \(batch, 3"),
    (
        lambda: MP3(small("ViT"))(Batch(images=IMAGES, patch_mask=MASK | True)),
        "leave 0 to 0 of 16 patches visible",
    ),
    (
        lambda: DINO(small("ViT"), 8, (8, 4))(Batch(crops=(IMAGES, IMAGES), patch_mask=MASK)),
        "the batch has a patch_mask, and patch_weight=0 masks nothing",
    ),
    (
        lambda: LinearProbe(small("ViT"))(Batch(features=torch.zeros(2, 7), labels=LABELS)),
        "features of width 7 do not fit this ViT, whose features have 32: compute them",
    ),
    (
        lambda: LinearProbe(small("ViT")).fit_statistics(
            Batch(features=torch.zeros(2, 4, 32), labels=LABELS)
        ),
        r"features of shape \(2, 4, 32\) are not \(samples, width\)",
    ),
    (
        lambda: LinearProbe(small("ViT"), start="logistic").fit_statistics(
            Batch(features=torch.zeros(2, 32), labels=LABELS + 4)
        ),
        "label 5 is not within 0 to 4",
    ),
    (
        lambda: Regression(small("ViT", num_classes=1)).fit_targets(
            torch.tensor([[1e300], [2e300]], dtype=torch.float64)
        ),
        r"numbers as large as 2e\+300 do not fit torch.float32: give them in a larger unit",
    ),
]


@pytest.mark.parametrize(("call", "message"), CALLS)
def test_a_call_that_cannot_work_says_what_would(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[0] * 16] * 2, "codes of type list are no codes: give a tensor of whole numbers"),
        (torch.zeros(2, 16), "codes of type torch.float32 are no codes"),
        (torch.full((2, 16), 9), "code 9 is none of the 8, 0 to 7: set the vocabulary"),
        (torch.full((2, 16), -100), "code -100 is none of the 8"),
        (torch.zeros(2, 4).long(), r"codes of shape \(2, 4\)"),
        (torch.zeros(0, 16).long(), r"codes of shape \(0, 16\)"),
    ],
)
def test_codes_that_are_none_are_one_line(codes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        BEiTPretraining(small("ViT"), lambda _: codes, vocabulary=8)(IMAGES)
    if isinstance(codes, Tensor):
        with pytest.raises(DataError, match=message):
            DVAE(small("ViT"), vocabulary=8, code_dim=4).decode(codes)


def test_codes_may_be_any_integers_of_any_object_that_gives_tokens() -> None:
    class Codes:
        vocabulary = 8

        def tokens(self, images: Tensor) -> Tensor:
            return torch.zeros(len(images), 16, dtype=torch.uint8)

    assert BEiTPretraining(small("ViT"), Codes())(IMAGES).loss.isfinite()
    method = BEiTPretraining(small("ViT"), lambda _: torch.zeros(2, 16).int(), vocabulary=8)
    assert method(IMAGES).loss.isfinite()


@pytest.mark.parametrize("method", [MAE, SimMIM, DINO, DVAE])
def test_pretraining_of_a_model_that_is_frozen_is_refused(method: type[Method]) -> None:
    message = r"all weights of this ViT are frozen.*: call model.requires_grad_\(\)"
    with pytest.raises(ConfigError, match=message):
        method(small("ViT").requires_grad_(False))


def test_what_is_misspelled_or_missing_is_one_line() -> None:
    class Own(Method): ...

    teacher = EMATeacher({"head": nn.Linear(2, 2)})
    for call, message in (
        (lambda: Batch(image=IMAGES), "Batch has no keyword 'image'. Did you mean 'images'"),
        (lambda: Own(small("ViT"))(Batch(images=IMAGES)), "Own has no forward: write `def forw"),
        (lambda: random_mask(1, (4, 4), NAN), "mask_ratio=nan is no fraction of the patches"),
        (
            lambda: teacher.update({"haed": nn.Linear(2, 2)}, 0.5),
            r"modules \['head'\], not \['haed",
        ),
        (lambda: teacher.update({}, 2.0), "momentum=2.0 is not a number of at least 0 and at most"),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


@pytest.mark.parametrize("progress", [-0.1, 1.1, NAN])
def test_progress_is_a_fraction(progress: float) -> None:
    with pytest.raises(ConfigError, match=f"progress={progress:g} is no fraction of all steps"):
        MethodCase("dino").on("ViT").before_step(progress)
