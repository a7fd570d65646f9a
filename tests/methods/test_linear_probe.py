"""Linear probe: what it starts from, and the head that it ends with."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.models.small import small
from vitrail.errors import ConfigError
from vitrail.methods.base import Batch
from vitrail.methods.linear_probe import LinearProbe
from vitrail.methods.logistic import fit_logistic
from vitrail.models.vit import ViT


def test_it_starts_at_the_optimum_of_logistic_regression() -> None:
    """Of features as they are after `finish`, and of standardized ones before it."""
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    features = 5 + 3 * torch.randn(60, 8)
    features[:, :3] += 4 * nn.functional.one_hot(labels, 3)
    model = ViT(8, 4, num_classes=3, channels=1, dim=8, depth=1, heads=1, mlp_dim=8)
    method = LinearProbe(model, start="logistic", label_smoothing=0.0)
    data = Batch(features=features, labels=labels)
    method.fit_statistics(data)
    expected = fit_logistic(features, labels, 3)(features)
    predict = method.predictor(model)
    torch.testing.assert_close(predict(data), expected, atol=1e-3, rtol=0)
    loss = method(data).loss
    torch.testing.assert_close(loss, nn.functional.cross_entropy(expected, labels))
    method.finish(model)
    torch.testing.assert_close(model.head(features), expected, atol=1e-3, rtol=0)


def test_it_starts_from_its_head_where_nothing_else_is_said() -> None:
    model = ViT(8, 4, num_classes=3, channels=1, dim=8, depth=1, heads=1, mlp_dim=8)
    before = model.head.weight.detach().clone()
    method = LinearProbe(model)
    method.fit_statistics(Batch(features=torch.randn(6, 8), labels=torch.arange(6) % 3))
    assert torch.equal(model.head.weight, before)


@pytest.mark.parametrize("loss", [{"focal": 2.0}, {"class_weights": "balanced"}])
def test_a_logistic_regression_knows_no_weights_of_classes(loss: dict[str, Any]) -> None:
    model = ViT(8, 4, num_classes=3, channels=1, dim=8, depth=1, heads=1, mlp_dim=8)
    with pytest.raises(ConfigError, match="leave class_weights and focal out"):
        LinearProbe(model, start="logistic", **loss)


def test_it_learns_several_labels() -> None:
    torch.manual_seed(0)
    features = 5 + 3 * torch.randn(60, 8)
    labels = (features[:, :2] + torch.randn(60, 2) > 5).float()
    model = ViT(8, 4, num_classes=2, channels=1, dim=8, depth=1, heads=1, mlp_dim=8)
    method = LinearProbe(model, start="logistic", label_smoothing=0.0, penalty=0.1, target="labels")
    data = Batch(features=features, labels=labels)
    method.fit_statistics(data)
    expected = fit_logistic(features, labels, 2, 0.1)(features)
    loss = nn.functional.binary_cross_entropy_with_logits(expected, labels)
    torch.testing.assert_close(method(data).loss, loss, atol=1e-3, rtol=0)
    method.finish(model)
    torch.testing.assert_close(model.head(features), expected, atol=1e-2, rtol=0)


def test_it_learns_numbers_and_gives_them_in_their_units() -> None:
    torch.manual_seed(0)
    features = 5 + 3 * torch.randn(60, 8)
    ages = torch.stack([40 + 10 * features[:, 0], features[:, 1] / 100], 1)
    model = ViT(8, 4, num_classes=2, channels=1, dim=8, depth=1, heads=1, mlp_dim=8)
    method = LinearProbe(model, start="logistic", penalty=1e-6, target="numbers")
    data = Batch(features=features, labels=ages)
    method.fit_targets(ages)
    method.fit_statistics(data)
    torch.testing.assert_close(method.predictor(model)(data), ages, atol=0.01, rtol=0)
    assert method(data).loss < 1e-6
    assert method(data).metrics["mae"] < 0.01
    method.finish(model)
    torch.testing.assert_close(model.head(features), ages, atol=0.01, rtol=0)


def test_labels_and_numbers_have_no_classes_to_weigh() -> None:
    model = ViT(8, 4, num_classes=2, channels=1, dim=8, depth=1, heads=1, mlp_dim=8)
    with pytest.raises(ConfigError, match="target='labels' has no classes: leave class_weights"):
        LinearProbe(model, focal=1.0, target="labels")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_features_of_any_type_are_those_of_the_head(dtype: torch.dtype) -> None:
    features, labels = (3 * torch.randn(9, 32)).to(dtype), torch.arange(9) % 5
    losses = []
    for values in (features, features.float()):
        torch.manual_seed(0)
        probe = LinearProbe(small("ViT"))
        probe.fit_statistics(Batch(features=values, labels=labels))
        losses.append(probe(Batch(features=values, labels=labels)).loss)
    torch.testing.assert_close(*losses)


def test_a_probe_whose_head_was_removed_learns_nothing_from_features() -> None:
    model = small("ViT")
    probe = LinearProbe(model)
    model.reset_head(0)
    with pytest.raises(ConfigError, match="num_classes=0, so that no head learns the labels"):
        probe(Batch(features=torch.zeros(2, 32), labels=torch.tensor([0, 1])))
