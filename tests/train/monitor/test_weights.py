"""Norms and ratios equal those of the optimizer's own formula."""

import statistics

import pytest
import torch

import vitrail
from vitrail.methods.base import Batch
from vitrail.methods.mae import MAE
from vitrail.methods.supervised import Supervised
from vitrail.train.monitor import weights
from vitrail.train.monitor.weights import Weights


def vit(**options: int) -> vitrail.ViT:
    torch.manual_seed(0)
    return vitrail.ViT(8, 4, num_classes=3, dim=8, depth=2, heads=2, mlp_dim=16, **options)


def backward(method: Supervised) -> None:
    batch = Batch(images=torch.rand(4, 3, 8, 8), labels=torch.tensor([0, 1, 2, 0]))
    method(batch).loss.backward()


@pytest.mark.parametrize("sample", [2**16, 7])
def test_sgd_changes_weights_by_rate_times_gradient(
    sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SAMPLE", sample)
    model = vit()
    method = Supervised(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = Weights(method, optimizer)
    backward(method)
    norms = watched.gradients()["gradient_norm"]
    parameters = list(model.blocks[1].parameters())
    gradient = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    grads = {name: p.grad for name, p in model.blocks[1].named_parameters()}
    values = {name: p.detach().clone() for name, p in model.blocks[1].named_parameters()}
    before = torch.cat([p.detach().flatten() for p in parameters]).norm()
    assert norms["block 1"] == pytest.approx(gradient.norm().item(), rel=1e-5)
    watched.remember()
    optimizer.step()
    measures, parameter_changes = watched.updates()
    exact = sample > 1000
    ratios = [
        (0.1 * grads[name].norm() / values[name].norm()).item()
        for name, p in model.blocks[1].named_parameters()
        if p.ndim == 2
    ]
    assert measures["update_ratio"]["block 1"] == pytest.approx(
        statistics.median(ratios), rel=1e-4 if exact else 0.5
    )
    assert measures["weight_norm"]["block 1"] == pytest.approx(
        before.item(), rel=1e-5 if exact else 0.3
    )
    assert set(measures["unchanged"].values()) == {0.0}
    assert all(change.changed for change in parameter_changes)
    assert sorted({c.part for c in parameter_changes}) == ["block 0", "block 1", "embed", "head"]


def test_what_is_frozen_does_not_change() -> None:
    model = vit()
    model.blocks[1].mlp.requires_grad_(False)
    method = Supervised(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = Weights(method, optimizer)
    backward(method)
    watched.remember()
    optimizer.step()
    measures, changes = watched.updates()
    assert measures["unchanged"]["block 1"] == pytest.approx(4 / 12)
    still = [change for change in changes if not change.changed]
    assert [change.path for change in still] == [
        f"blocks.1.mlp.{name}" for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
    ]
    assert still[0].role == "mlp.fc1.weight"
    assert [change.trains for change in changes].count(False) == 4


def test_what_a_method_adds_is_a_group_of_its_own() -> None:
    method = MAE(vit(), decoder_dim=8, decoder_depth=1, decoder_heads=2)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    groups = Weights(method, optimizer).groups
    assert list(groups) == ["embed", "block 0", "block 1", "head", "method"]
    assert all(path.startswith("decoder") or "mask" in path for path in groups["method"])
