"""Linear probe: what it starts from, and the head that it ends with."""

from typing import Any

import pytest
import torch
from torch import nn

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
