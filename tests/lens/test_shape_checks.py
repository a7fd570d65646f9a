"""Shapes are asserted while a model runs, and a wrong one names its module."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.models.small import CASES, IDS, images_for, small
from vitrail.errors import ConfigError
from vitrail.lens.shape_checks import assert_shapes, watch_shapes


@pytest.mark.parametrize(("name", "more"), CASES, ids=IDS)
def test_every_model_keeps_its_contract(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more).train()
    with assert_shapes(model):
        model(images_for(model))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_module_of_ones_own_is_named() -> None:
    class Mine(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, 1:]

    model: Any = small("ViT")
    model.blocks[1].mixer = nn.Sequential(Mine(), nn.ConstantPad1d(0, 0))
    message = (
        r"blocks.1.mixer: \(2, 17, 32\) -> \(2, 16, 32\) is not B N 32 -> B N 32, where B is 2, "
        "N is 17"
    )
    with pytest.raises(ConfigError, match=message), assert_shapes(model):
        model(images_for(model))


@pytest.mark.parametrize(
    ("shapes", "holds"),
    [
        ("B N 32 -> B N 32", True),
        ("2 17 D -> 2 17 D", True),
        ("B N D -> B N D", True),
        ("... D -> ... D", True),
        ("B N N -> B N N", False),
        ("B N 31 -> B N 31", False),
        ("B N -> B N", False),
        ("B N D -> N B D", False),
    ],
)
def test_shapes_as_they_are_written(shapes: str, holds: bool) -> None:
    model = small("ViT")

    def run() -> None:
        with assert_shapes(model, {"blocks.*": shapes}):
            model(images_for(model))

    if holds:
        run()
    else:
        with pytest.raises(ConfigError, match="blocks.0"):
            run()


def test_wrong_patterns_are_named() -> None:
    model = small("ViT")
    for expected, message in (
        ({"block.*": "B N D -> B N D"}, "no module is called 'block.*'"),
        ({"blocks.*": "B N D"}, "is no shapes such as"),
        ({"blocks.*": "B, N -> B"}, "is no shapes such as"),
    ):
        with pytest.raises(ConfigError, match=message), assert_shapes(model, expected):
            pass
    handles = watch_shapes(model)
    assert len(handles) == 10  # 3 blocks, mixers and MLPs, and the head
