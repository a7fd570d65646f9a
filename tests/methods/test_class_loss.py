"""Weights of classes and samples, and the focal factor: as torch, scikit-learn and the paper."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from tests.models.small import small
from vitrail.errors import ConfigError
from vitrail.methods.attentive_probe import AttentiveProbe
from vitrail.methods.base import Batch
from vitrail.methods.class_loss import ClassLoss, classify
from vitrail.methods.linear_probe import LinearProbe
from vitrail.methods.memory import LearnableMemory
from vitrail.methods.supervised import Supervised

LOGITS = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0] * 8 + [1] * 3 + [2])
WEIGHTS = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_are_torchs(smoothing: float) -> None:
    ours = classify(LOGITS, LABELS, smoothing, class_weights=WEIGHTS).loss
    theirs = F.cross_entropy(LOGITS, LABELS, weight=WEIGHTS, label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_focal_is_the_papers() -> None:
    probs = LOGITS.softmax(1)[torch.arange(12), LABELS]
    expected = (-WEIGHTS[LABELS] * (1 - probs) ** 2 * probs.log()).sum() / WEIGHTS[LABELS].sum()
    ours = classify(LOGITS, LABELS, 0.0, class_weights=WEIGHTS, focal=2.0).loss
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_sample_weights_are_repetitions() -> None:
    counts = torch.arange(12) % 4
    ours = classify(LOGITS, LABELS, 0.1, sample_weights=counts.double(), class_weights=WEIGHTS).loss
    repeated = classify(
        LOGITS.repeat_interleave(counts, 0),
        LABELS.repeat_interleave(counts),
        0.1,
        class_weights=WEIGHTS,
    ).loss
    torch.testing.assert_close(ours, repeated, rtol=0, atol=1e-12)


def test_mixed_images_weigh_as_their_classes() -> None:
    hard = classify(LOGITS, LABELS, 0.1, class_weights=WEIGHTS, focal=1.5).loss
    soft = classify(
        LOGITS, F.one_hot(LABELS, 3).double(), 0.1, class_weights=WEIGHTS, focal=1.5
    ).loss
    torch.testing.assert_close(soft, hard, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", [Supervised, LinearProbe])
def test_balanced_weights_are_scikit_learns(method: type[Supervised] | type[LinearProbe]) -> None:
    model = small("ViT", num_classes=3)
    wrapped = method(model, class_weights="balanced")
    wrapped.fit_targets(LABELS)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS.numpy())
    weights = wrapped.class_loss.weights
    assert weights is not None
    assert weights.tolist() == pytest.approx(expected.tolist())
    assert not [name for name in wrapped.state_dict() if "class_loss" in name]


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match="2 numbers, and the model 3 classes"):
        ClassLoss(3, class_weights=(1.0, 2.0))
    with pytest.raises(ConfigError, match="call method.fit_targets"):
        ClassLoss(3, class_weights="balanced")(LOGITS, Batch(labels=LABELS))


def test_a_batch_of_samples_that_do_not_count_has_no_loss() -> None:
    assert classify(LOGITS, LABELS, 0.1, sample_weights=torch.zeros(12)).loss == 0


@pytest.mark.parametrize("method", [AttentiveProbe, LearnableMemory])
def test_methods_on_a_frozen_model_weigh_classes_too(
    method: type[AttentiveProbe] | type[LearnableMemory],
) -> None:
    torch.manual_seed(0)
    probe = method(small("ViT", num_classes=3), class_weights="balanced", label_smoothing=0.0)
    probe.fit_targets(LABELS)
    images = torch.randn(12, 3, 32, 32)
    logits = probe.classifier(probe.backbone)(images)
    weights = torch.tensor([12 / 24, 12 / 9, 12 / 3])
    expected = F.cross_entropy(logits, LABELS, weight=weights)
    torch.testing.assert_close(probe(Batch(images=images, labels=LABELS)).loss, expected)


def test_a_head_that_changed_after_its_weights_is_refused() -> None:
    model = small("ViT")
    method = Supervised(model, class_weights=(1.0, 2.0, 1.0, 1.0, 1.0))
    model.reset_head(7)
    batch = Batch(images=torch.zeros(2, 3, 32, 32), labels=torch.tensor([0, 6]))
    message = "class_weights has 5 numbers, and the model now 7 classes: make the method after"
    with pytest.raises(ConfigError, match=message):
        method(batch)
    assert Supervised(model)(batch).loss.isfinite()
