"""Every model as a tree of modules: hooks fire, copies are independent, meta tensors serve."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.small import CASES, IDS, count_calls, images_for, small
from vitrail.models.registry import get_model_class

every_model = pytest.mark.parametrize(("name", "more"), CASES, ids=IDS)

CONTAINERS = nn.ModuleList | nn.ModuleDict


@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@every_model
def test_a_hook_on_every_module_fires(
    name: str, more: dict[str, Any], training: bool, grad: bool
) -> None:
    model = small(name, **more).train(training)
    modules = {n: m for n, m in model.named_modules() if not isinstance(m, CONTAINERS)}
    with count_calls(modules.values()) as calls, torch.set_grad_enabled(grad):
        model(images_for(model))
    assert not [n for n, m in modules.items() if not calls[m]]


@every_model
def test_every_parameter_belongs_to_a_module_that_is_called(
    name: str, more: dict[str, Any]
) -> None:
    """What a model computes with a parameter of its own, no hook on a leaf sees."""
    model = small(name, **more)
    assert not [n for n, _ in model.named_parameters(recurse=False)]


@every_model
def test_batches_of_none_and_one(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    images = images_for(model, 3)
    with torch.no_grad():
        assert model(images[:0]).shape == (0, 5)
        torch.testing.assert_close(model(images[:1]), model(images)[:1], rtol=0, atol=1e-5)
    model.train()(images[:1].repeat(2, *[1] * (images.ndim - 1))).sum().backward()


@every_model
def test_a_deep_copy_is_equal_and_independent(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    images = images_for(model)
    twin = copy.deepcopy(model)
    before = model(images)
    assert torch.equal(twin(images), before)
    assert twin.config == model.config
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.fill_(0.5)
    twin.config["num_classes"] = -1
    assert torch.equal(model(images), before)
    assert model.config["num_classes"] == 5


@every_model
def test_built_on_the_meta_device_and_loaded(name: str, more: dict[str, Any]) -> None:
    """Without memory for the parameters; buffers that are computed are there at once."""
    model = small(name, **more)
    with torch.device("meta"):
        twin = get_model_class(name)(**model.config)
    assert {p.device.type for p in twin.parameters()} == {"meta"}
    twin.load_state_dict(model.state_dict(), assign=True)
    assert {t.device.type for t in [*twin.parameters(), *twin.buffers()]} == {"cpu"}
    assert torch.equal(twin.eval()(images_for(model)), model(images_for(model)))
