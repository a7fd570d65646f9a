"""Buffers that are computed: whatever device a model was built on, loading weights fills them."""

import copy
import pickle

import pytest
import torch
from torch import nn

from tests.models.small import images_for, small
from vitrail.methods.heads import Prototypes
from vitrail.models.base import Backbone

WITH_TABLES = ("BEiT", "CrossFormer", "MaxViT", "RegionViT", "Swin")


def on_meta(model: Backbone) -> Backbone:
    with torch.device("meta"):
        return type(model)(**model.config).eval()


@pytest.mark.parametrize("name", WITH_TABLES)
@torch.no_grad()
def test_a_model_built_on_meta_and_loaded_equals_the_original(name: str) -> None:
    model = small(name).eval()
    expected, weights = model(images_for(model)), model.state_dict()
    assigned = on_meta(model)
    assigned.load_state_dict(weights, assign=True)
    emptied = on_meta(model).to_empty(device="cpu")
    emptied.load_state_dict(weights)
    moved = copy.deepcopy(model).to("meta").to_empty(device="cpu")
    moved.load_state_dict(weights)
    unpickled = pickle.loads(pickle.dumps(emptied))
    unpickled.load_state_dict(weights)
    for other in (assigned, emptied, moved, unpickled):
        assert torch.equal(other(images_for(model)), expected)


@pytest.mark.parametrize("name", WITH_TABLES)
def test_initial_values_after_emptying_include_them(name: str) -> None:
    model = on_meta(small(name)).to_empty(device="cpu")
    torch.manual_seed(0)
    model.init_weights()
    expected = type(model)(**model.config).eval()
    torch.manual_seed(0)
    expected.init_weights()
    assert torch.equal(model(images_for(model)), expected(images_for(model)))


def test_floating_buffers_take_the_dtype_of_the_weights() -> None:
    model = small("CrossFormer").double().eval()
    other = on_meta(model)
    other.load_state_dict(model.state_dict(), assign=True)
    images = images_for(model).double()
    assert torch.equal(other(images), model(images))


def test_prototypes_have_length_one_after_emptying() -> None:
    layer = Prototypes(4, 6)
    other = Prototypes(4, 6).to("meta").to_empty(device="cpu")
    other.load_state_dict(layer.state_dict())
    x = nn.functional.normalize(torch.randn(3, 4), dim=-1)
    assert torch.equal(other(x), layer(x))
