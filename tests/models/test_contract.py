"""What every model must keep: the contract suite, and more. A new model is here by existing."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.models.small import CASES, IDS, ODD, REFUSED, case, images_for, of_published_size, small
from vitrail.contract.checks import run_checks
from vitrail.contract.modules import MODULE_CHECKS
from vitrail.contract.stages import STAGE_CHECKS
from vitrail.errors import ConfigError, DataError
from vitrail.layers.position import PositionTable
from vitrail.layers.relative_position import RelativeBias
from vitrail.layers.tokens import Token
from vitrail.models.base import Backbone
from vitrail.models.parameters import undecayed
from vitrail.models.registry import get_model_class, variants
from vitrail.models.tiers import PyramidBackbone
from vitrail.models.vim import VisionMamba

every_model = pytest.mark.parametrize(("name", "more"), CASES, ids=IDS)
every_class = pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))


PYRAMIDS = [case for case in CASES if issubclass(get_model_class(case[0]), PyramidBackbone)]
PYRAMID_IDS = [i for i, case in zip(IDS, CASES, strict=True) if case in PYRAMIDS]


CHECKS = [*STAGE_CHECKS, *MODULE_CHECKS]
(EXPORT,) = (check for check in CHECKS if check.name.startswith("torch.export"))
# Exporting takes seconds: `make test` exports one of each kind, and `make test-all` the rest.
EXPORTED = ("ViT", "VisionMamba", "Swin", "PVTv2", "MobileViT", "CrossViT", "ViViT")
TO_EXPORT = [
    pytest.param(*model, id=i, marks=[] if i in EXPORTED else [pytest.mark.slow])
    for i, model in zip(IDS, CASES, strict=True)
]


@every_model
def test_every_model_keeps_the_contract(name: str, more: dict[str, Any]) -> None:
    """That a method trains it is in tests/methods/test_contract.py."""
    checks = [check for check in CHECKS if check is not EXPORT]
    problems = {o.check.name: o.problem for o in run_checks(checks, case(name, more)) if o.problem}
    assert not problems


@pytest.mark.parametrize(("name", "more"), TO_EXPORT)
def test_every_model_is_exported(name: str, more: dict[str, Any]) -> None:
    EXPORT.run(case(name, more))


@every_class
def test_no_model_has_a_forward_of_its_own(name: str) -> None:
    if not issubclass(get_model_class(name), VisionMamba):  # whose forward takes a cache, too
        assert get_model_class(name).forward is Backbone.forward


# Classes or variants whose papers have other strides, with theirs.
OTHER_STRIDES: dict[str, tuple[int, ...]] = {
    "PiT": (8, 16, 32),
    "pit_b_224": (7, 14, 28),
    "pit_b_distilled_224": (7, 14, 28),
    "NesT": (4, 8, 16),
    "CvT": (4, 8, 16),
    "LeViT": (16, 32, 64),
}


@pytest.mark.parametrize("variant", sorted(variants()))
def test_parameters_and_strides_are_as_published(variant: str) -> None:
    """Strides are those that detectors expect."""
    model = of_published_size(variant)
    assert sum(p.numel() for p in model.parameters()) == variants()[variant].variant.parameters
    if isinstance(model, PyramidBackbone):
        strides = OTHER_STRIDES.get(type(model).__name__, (4, 8, 16, 32))
        strides = OTHER_STRIDES.get(variant, strides)
        assert model.strides[-len(strides) :] == strides


@every_class
def test_a_block_that_does_not_exist_is_named(name: str) -> None:
    model = small(name)
    end = len(model.blocks) - 1
    with pytest.raises(ConfigError, match=f"layer 7 does not exist: there are 0 to {end}"):
        model.intermediates(images_for(model), [7])


@pytest.mark.parametrize(("name", "more"), PYRAMIDS, ids=PYRAMID_IDS)
def test_a_pyramid_gives_its_stages_at_its_strides(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    stages = model.intermediates(images_for(model), range(len(model.blocks)))
    assert len(model.strides) == len(model.blocks)
    # patches that overlap lose their overlap at the far edges
    overlap = model.config["patch_size"] - model.config["stride"] if "stride" in model.config else 0
    for stage, stride in zip(stages, model.strides, strict=True):
        assert stage.grid == tuple(-(-(side - overlap) // stride) for side in model.image_size)
        assert stage.to_map(channels_first=True).shape[2:] == stage.grid


@every_model
def test_layers_are_frozen_from_below(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    layers = model.layer_ids()
    model.freeze(2)
    learning = {layers[n] for n, p in model.named_parameters() if p.requires_grad}
    assert learning == set(range(2, model.depth + 2))
    with pytest.raises(ConfigError, match="layers=99 is not within -"):
        model.freeze(99)


# Tables that the authors' code decays; all others, and all tokens, it spares.
DECAYED: dict[str, type[nn.Module]] = {"PVT": PositionTable, "RegionViT": RelativeBias}


@every_model
def test_weight_decay_spares_vectors_and_what_the_authors_spare(
    name: str, more: dict[str, Any]
) -> None:
    model = small(name, **more)
    spared, modules, wrong = undecayed(model), dict(model.named_modules()), []
    for parameter_name, parameter in model.named_parameters():
        path, _, last = parameter_name.rpartition(".")
        module, is_spared = modules[path], parameter_name in spared
        own = last in getattr(module, "undecayed", ())
        if is_spared != (parameter.ndim < 2 or own) or (own and isinstance(module, nn.Linear)):
            wrong.append(parameter_name)
        elif isinstance(module, Token | PositionTable | RelativeBias):
            if is_spared == isinstance(module, DECAYED.get(name, ())):
                wrong.append(parameter_name)
    assert not wrong


@every_model
def test_a_size_or_channels_that_do_not_fit_are_named(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    axes = len(model.image_size)
    refused = " x ".join(map(str, ODD[axes])) + " pixels does not divide into patches"
    odd, reason = REFUSED.get(name, (ODD[axes], refused))
    if odd and model.config.get("stride") in (None, 8):
        with pytest.raises(DataError, match=reason):
            model(torch.randn(1, model.channels, *odd))
    with pytest.raises(DataError, match=f"{model.channels}-channel images"):
        model(torch.randn(1, model.channels + 1, *model.image_size))


@every_class
def test_an_unknown_keyword_names_the_nearest(name: str) -> None:
    with pytest.raises(ConfigError, match="no keyword 'num_clases'. Did you mean 'num_classes'"):
        small(name, num_clases=3)
    if isinstance(small(name).config.get("heads"), int):
        with pytest.raises(ConfigError, match="dim=32 does not divide into heads=5"):
            small(name, heads=5)
        with pytest.raises(ConfigError, match="heads=0 is not a whole number of at least 1"):
            small(name, heads=0)
    if name not in REFUSED:
        with pytest.raises(DataError, match="4 x 4 pixels does not divide"):
            small(name, image_size=4)
