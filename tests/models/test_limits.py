"""Sizes that no machine has room for: one line, before memory is written to."""

import inspect
from typing import Any

import pytest
import torch
from torch import nn

import vitrail
from tests.models.small import small
from vitrail.errors import ConfigError
from vitrail.models import limits
from vitrail.models.limits import within_memory
from vitrail.models.registry import get_model_class, model_classes
from vitrail.models.surgery import resized, with_channels, with_options

NAMES = sorted(model_classes())


@pytest.mark.parametrize("name", NAMES)
def test_numbers_with_too_many_digits(name: str) -> None:
    """Every keyword of every model that is a number, or one per stage."""
    model_class, config = get_model_class(name), small(name).config
    for keyword in inspect.signature(model_class).parameters:
        value = config.get(keyword)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole and not (isinstance(value, tuple) and isinstance(value[0], int)):
            continue
        for huge in (10**9, 10**25):
            absurd = huge if whole else (huge, *value[1:])
            with pytest.raises(ConfigError) as problem:
                model_class(**{**config, keyword: absurd})
            assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    "keywords",
    [{"image_size": 8 * 10**5}, {"mlp_dim": 10**7, "dim": 48 * 10**4}],
)
def test_sizes_that_are_too_large_together(keywords: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"^this ViT needs more .* choose smaller sizes\.$"):
        small("ViT", **keywords)


def test_surgery() -> None:
    model = small("ViT")
    for huge in (10**7, 10**12, 10**25):
        with pytest.raises(ConfigError, match="num_classes="):
            # A head of 10**7 classes has room on some machines.
            model.reset_head(huge * 10**5)
        with pytest.raises(ConfigError, match="image_size="):
            resized(model, huge // 8 * 8)
        with pytest.raises(ConfigError, match="channels="):
            with_channels(model, huge * 100)
        with pytest.raises(ConfigError, match="channels="):
            with_options(model, {"channels": huge * 100})
    assert model.num_classes == 5 and model.head.out_features == 5


def test_memory_is_counted_before_it_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_memory", lambda: 10_000)
    sizes: dict[str, Any] = {"image_size": 8, "patch_size": 4, "num_classes": 2, "depth": 1}
    vitrail.ViT(**sizes, dim=8, heads=1, mlp_dim=8)
    with pytest.raises(ConfigError, match="this ViT needs more than 0 GB"):
        vitrail.ViT(**sizes, dim=32, heads=1, mlp_dim=8)
    with torch.device("meta"):  # which allocates nothing
        vitrail.ViT(**sizes, dim=32, heads=1, mlp_dim=8)
    nn.Linear(200, 200)  # outside the context


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="mine"), within_memory("a layer"):
        raise RuntimeError("mine")
