"""Losses of several labels and of numbers beside their formulas, and the head in units."""

import pytest
import torch
import torch.nn.functional as F

from tests.models.small import small
from vitrail.errors import ConfigError
from vitrail.methods.base import Batch
from vitrail.methods.multi_label import MultiLabel
from vitrail.methods.regression import Regression

IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
VALUES = torch.tensor([[0.0, 100], [1, 300], [1, 200], [0, 100], [1, 500], [0, 100]])
WEIGHTS = torch.tensor([1.0, 2, 0, 1, 0, 3])


def test_several_labels_are_binary_cross_entropies() -> None:
    model, labels = small("ViT", num_classes=2).eval(), (VALUES > 150).float()
    logits = model(IMAGES)
    torch.testing.assert_close(
        MultiLabel(model).eval()(Batch(images=IMAGES, labels=labels)).loss,
        F.binary_cross_entropy(logits.sigmoid(), labels),
    )
    expected = F.binary_cross_entropy(logits.sigmoid(), labels * 0.8 + 0.1, reduction="none")
    method = MultiLabel(model, label_smoothing=0.2).eval()
    loss = method(Batch(images=IMAGES, labels=labels, weights=WEIGHTS)).loss
    torch.testing.assert_close(loss, (expected.mean(1) * WEIGHTS).sum() / 7)
    nothing = method(Batch(images=IMAGES, labels=labels, weights=torch.zeros(6))).loss
    assert nothing == 0


@pytest.mark.parametrize("loss", ["l1", "l2", "huber"])
def test_numbers_are_learned_by_their_deviations(loss: str) -> None:
    model = small("ViT", num_classes=2).eval()
    method = Regression(model, loss=loss).eval()  # type: ignore[arg-type]
    method.fit_targets(VALUES)
    truth = (VALUES - VALUES.mean(0)) / VALUES.std(0, correction=0)
    errors = (model(IMAGES) - truth).abs()
    huber = torch.where(errors < 1, errors**2 / 2, errors - 0.5)
    losses = {"l1": errors, "l2": errors**2, "huber": huber}[loss].mean(1)
    batch = Batch(images=IMAGES, labels=VALUES, weights=WEIGHTS)
    torch.testing.assert_close(method(batch).loss, (losses * WEIGHTS).sum() / 7)


@pytest.mark.parametrize("name", ["ViT", "DeiT", "LeViT", "Swin"])
def test_a_finished_head_gives_numbers_in_their_units(name: str) -> None:
    model = small(name, num_classes=2).eval()
    method = Regression(model).eval()
    method.fit_targets(VALUES)
    images = torch.rand(2, model.channels, *model.image_size)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "head" in key and key.endswith("bias"):
                parameter.fill_(1.5)  # a bias of 0, of the start, has no units
        expected = method.predictor(model)(Batch(images=images))
        method.finish(model)
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-2)


def test_a_model_without_a_head_learns_no_numbers() -> None:
    with pytest.raises(ConfigError, match="give num_classes"):
        Regression(small("ViT", num_classes=0))
