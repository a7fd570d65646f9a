"""Fused models say the same, and tools find PyTorch's own types."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.small import CASES, IDS, images_for, small
from vitrail.deploy.fuse import fuse, plain_layers
from vitrail.layers.block import LayerScale
from vitrail.layers.conv import ConvNorm, LinearNorm
from vitrail.layers.linear import Linear

every_model = pytest.mark.parametrize(("name", "more"), CASES, ids=IDS)


def unsettled(name: str, more: dict[str, Any]) -> nn.Module:
    """A model in float64 whose batch norms have statistics, and whose LayerScales differ from 1."""
    model = small(name, **more).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, LayerScale):
            nn.init.uniform_(module.gamma, 0.2, 2)
    return model


@every_model
@torch.no_grad()
def test_a_fused_model_gives_the_same_logits(name: str, more: dict[str, Any]) -> None:
    model = unsettled(name, more)
    before = copy.deepcopy(model.state_dict())
    images = images_for(model).double()
    fused = fuse(model)
    torch.testing.assert_close(fused(images), model(images), rtol=0, atol=1e-10)
    assert not fused.training
    assert not any(p.requires_grad for p in fused.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    for module in fused.modules():
        if isinstance(module, ConvNorm | LinearNorm):
            assert isinstance(module.norm, nn.Identity)


@torch.no_grad()
def test_a_batch_norm_without_running_statistics_is_not_folded() -> None:
    for layer, norm, x in (
        (ConvNorm(3, 8), nn.BatchNorm2d, torch.randn(2, 3, 4, 4)),
        (LinearNorm(3, 8), nn.BatchNorm1d, torch.randn(2, 4, 3)),
    ):
        layer.norm = norm(8, track_running_stats=False)
        torch.testing.assert_close(fuse(layer)(x), layer.eval()(x))


def test_layer_scales_are_folded_into_the_branches() -> None:
    model = small("ViT", layer_scale=0.5)
    assert any(isinstance(m, LayerScale) for m in model.modules())
    assert not any(isinstance(m, LayerScale) for m in fuse(model).modules())


@every_model
@torch.no_grad()
def test_plain_layers_give_the_same_logits(name: str, more: dict[str, Any]) -> None:
    model = unsettled(name, more)
    images = images_for(model).double()
    plain = plain_layers(model)
    assert not any(type(m) is Linear for m in plain.modules())
    assert any(type(m) is nn.Linear for m in plain.modules())
    torch.testing.assert_close(plain(images), model(images), rtol=0, atol=1e-12)
    assert plain.state_dict().keys() == model.state_dict().keys()


@pytest.mark.skipif(
    not {"x86", "fbgemm", "qnnpack"} & set(torch.backends.quantized.supported_engines),
    reason="this PyTorch has no engine for int8",
)
def test_dynamic_quantization_finds_every_linear_layer() -> None:
    model = small("ViT").eval()
    count = sum(isinstance(m, nn.Linear) for m in model.modules())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        quantized = torch.ao.quantization.quantize_dynamic(
            plain_layers(model), {nn.Linear}, dtype=torch.qint8
        )
    assert not any(isinstance(m, nn.Linear) for m in quantized.modules())
    int8 = [m for m in quantized.modules() if isinstance(m, torch.ao.nn.quantized.dynamic.Linear)]
    assert len(int8) == count
    images = images_for(model)
    with torch.no_grad():
        expected = model(images)
        assert (quantized(images) - expected).abs().max() < 0.2 * expected.abs().max()
