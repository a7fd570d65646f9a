"""Mixers of the user's own: names, functions, modules; what can be saved."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import vitrail
from vitrail.errors import ConfigError
from vitrail.layers.block import Block
from vitrail.layers.mixers import MIXERS, register_mixer
from vitrail.models.efficient_vit import EfficientViT

SIZES = {
    "image_size": 16, "patch_size": 4, "num_classes": 5, "dim": 8, "depth": 2, "heads": 2,
    "mlp_dim": 16,
}  # fmt: skip


class Mean(nn.Module):
    """Every token takes the mean, through a linear layer."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean(dim=1, keepdim=True)).expand_as(x)


@pytest.fixture
def named() -> Iterator[str]:
    register_mixer("mean")(Mean)
    yield "mean"
    MIXERS.own.pop("mean")


@pytest.mark.parametrize("mixer", [Mean, lambda dim: Mean(dim), Mean(8)])
def test_any_module_mixes(mixer: object) -> None:
    model = EfficientViT(**SIZES, mixer=mixer)
    first, second = (block.mixer for block in model.blocks)
    assert type(first) is Mean and first is not second and first is not mixer
    assert not torch.equal(first.linear.weight, second.linear.weight)
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    assert first.linear.weight.grad is not None


def test_a_block_takes_any_mixer(named: str) -> None:
    mixer = Mean(8)
    assert Block(8, mixer, nn.Identity()).mixer is mixer
    for other in (Mean, named):
        assert type(Block(8, other, nn.Identity()).mixer) is Mean


def test_a_mixer_with_a_name_is_saved(named: str, tmp_path: Path) -> None:
    model, images = EfficientViT(**SIZES, mixer=named).eval(), torch.randn(2, 3, 16, 16)
    assert model.config["mixer"] == "mean"
    vitrail.save(model, tmp_path / "model")
    assert torch.equal(vitrail.load(tmp_path / "model")(images), model(images))
    register_mixer("mean")(Mean)  # a cell that runs again
    with pytest.raises(ConfigError, match="there is a mixer 'mean' already"):
        register_mixer("mean")(nn.LayerNorm)


def test_what_is_no_mixer_says_so(tmp_path: Path) -> None:
    model = EfficientViT(**SIZES, mixer=Mean)
    with pytest.raises(ConfigError, match=r"mixer=<class .*Mean'> is no plain value"):
        vitrail.save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(ConfigError, match=r"mixer='nystrm' is not one of \['nystrom',"):
        EfficientViT(**SIZES, mixer="nystrm")
    with pytest.raises(ConfigError, match="mixer=5 is not one of .*, or a function, or a Module"):
        EfficientViT(**SIZES, mixer=5)
