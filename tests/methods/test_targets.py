"""Labels that do not fit a model get one line, and never another meaning."""

from typing import Any

import pytest
import torch

from tests.models.small import small
from vitrail.errors import ConfigError, DataError
from vitrail.methods import DINO, Batch, Distill, MultiLabel, Regression, SimMIM, Supervised
from vitrail.methods.base import Method

WRONG: list[tuple[type[Method], Any, str]] = [
    (Supervised, [0, 9], "label 9 is not within 0 to 4"),
    (Supervised, [-1, 2], "label -1 is not within 0 to 4"),
    (Supervised, [0.0, 1.0], r"labels of torch.float32 are no class indices: give labels.long\(\)"),
    (Supervised, [True, False], "labels of torch.bool are no class indices"),
    (Supervised, [0], "images of 2 samples and labels of 1: give as many"),
    (Supervised, [[1.0, 0.0]] * 2, r"do not fit 2 samples of 5 classes: give class indices \(2,\)"),
    (Supervised, [[1], [4]], r"labels of shape \(2, 1\) do not fit .* give class indices \(2,\)"),
    (MultiLabel, [0, 1], r"labels of shape \(2,\) do not fit outputs of shape \(2, 5\)"),
    (Regression, [[0.5], [2.0]], r"labels of shape \(2, 1\) do not fit outputs of shape \(2, 5\)"),
]


@pytest.mark.parametrize(("method", "labels", "message"), WRONG)
def test_labels_that_do_not_fit_are_one_line(
    method: type[Method], labels: Any, message: str
) -> None:
    batch = Batch(images=torch.zeros(2, 3, 32, 32), labels=torch.tensor(labels))
    with pytest.raises(DataError, match=message):
        method(small("ViT"))(batch)


def test_fields_of_other_numbers_of_samples_are_one_line() -> None:
    images, labels = torch.zeros(2, 3, 32, 32), torch.tensor([0, 1])
    with pytest.raises(DataError, match="images of 2 samples and weights of 3: give as many"):
        Supervised(small("ViT"))(Batch(images=images, labels=labels, weights=torch.ones(3)))
    with pytest.raises(DataError, match="crops of 2 samples and crops of 1: give as many"):
        DINO(small("ViT"), 16, (24, 8))(Batch(crops=(images, images[:1])))
    with pytest.raises(DataError, match="patch_mask of torch.float32 is no mask: give bool"):
        SimMIM(small("ViT"))(Batch(images=images, patch_mask=torch.rand(2, 16)))


def test_any_integers_are_class_indices() -> None:
    method, losses = Supervised(small("ViT")).eval(), set()
    for dtype in (torch.uint8, torch.int32, torch.int64, torch.uint16, torch.uint64):
        labels = torch.tensor([1, 3], dtype=dtype)
        losses.add(method(Batch(images=torch.zeros(2, 3, 32, 32), labels=labels)).loss.item())
    assert len(losses) == 1


def test_a_model_without_a_head_is_refused_and_the_cure_works() -> None:
    for method in (Supervised, MultiLabel, lambda m: Distill(m, lambda images: images)):
        model = small("ViT", num_classes=0)
        with pytest.raises(ConfigError, match=r"num_classes=0, .* model.reset_head\(10\)"):
            method(model)
        model.reset_head(10)
        method(model)
