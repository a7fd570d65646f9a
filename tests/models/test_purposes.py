"""Recommended models have the properties that the reasons claim."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from tests.models.small import small
from vitrail.errors import ConfigError
from vitrail.hub.pretrained import list_models, published_ids
from vitrail.lens.shapes import shapes
from vitrail.models.base import Backbone
from vitrail.models.catalog import measured_speed, multiply_adds
from vitrail.models.purposes import MODEL_PURPOSES, names_for
from vitrail.models.registry import get_model_class, new_model, variants
from vitrail.models.tiers import PyramidBackbone, SequenceBackbone

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
CHOICES = [(purpose, name) for purpose, entry in MODEL_PURPOSES.items() for name in entry.reasons]


def untrained(name: str) -> Backbone:
    """The model of a variant, without memory for its weights."""
    with torch.device("meta"):
        return new_model(name).eval()


def parameters(name: str) -> int:
    return variants()[name].variant.parameters


def named(purpose: str) -> list[str]:
    return list(MODEL_PURPOSES[purpose].reasons)


def zoo() -> dict[str, dict[str, Any]]:
    """Rows of the small models that were trained on Fashion-MNIST, by class."""
    rows = json.loads((RESULTS / "zoo_training.json").read_text("utf-8"))["rows"]
    return {row["model"]: row for row in rows if row["data"] == "Fashion-MNIST"}


@pytest.mark.parametrize(("purpose", "name"), CHOICES)
def test_a_choice_exists_was_timed_and_says_whether_it_has_weights(purpose: str, name: str) -> None:
    reason = MODEL_PURPOSES[purpose].reasons[name].lower()
    assert name in variants()
    assert measured_speed().milliseconds[name] > 0, "run `python -m benchmarks.recommended`"
    if "no published weights" in reason:
        assert name not in published_ids()
    elif "published weights" in reason:
        assert name in published_ids()
    assert reason.endswith(".")
    if "a sequence" in reason:
        assert issubclass(variants()[name].model, SequenceBackbone)
    if "a pyramid" in reason or "four stages" in reason:
        assert issubclass(variants()[name].model, PyramidBackbone)


def test_small_data() -> None:
    for name in named("small-data"):
        assert name in published_ids() or max(untrained(name).image_size) <= 64
    assert untrained("sl_vit_patch8_64").image_size == (64, 64)
    assert untrained("cct_7_3x1_32").image_size == (32, 32)
    assert hasattr(untrained("deit_tiny_distilled_patch16_224"), "distillation_token")


def test_small_data_in_the_zoo() -> None:
    rows = zoo()
    assert max(rows, key=lambda model: rows[model]["accuracy"]) == "MobileViT"
    better = [model for model in rows if rows[model]["accuracy"] > rows["ViT"]["accuracy"]]
    assert min(better, key=lambda model: rows[model]["seconds"]) == "NesT"
    for model in ("SmallViT", "CCT"):
        assert rows[model]["accuracy"] < rows["ViT"]["accuracy"]
        assert rows[model]["epochs"] < rows["ViT"]["epochs"]


def test_edge() -> None:
    for name in named("edge"):
        assert parameters(name) <= 10e6, name
        assert multiply_adds()[name] <= 1.3e9, name
    assert min(published_ids(), key=lambda name: multiply_adds()[name]) == "levit_128s"
    assert min(published_ids(), key=parameters) == "mobilevit_xxs"


@pytest.mark.parametrize("name", named("detection"))
def test_detection(name: str) -> None:
    model = untrained(name)
    images = torch.zeros(1, 3, *model.image_size, device="meta")
    grids = [features.grid for features in model.intermediates(images, range(4))]
    assert grids == [tuple(s // k for s in model.image_size) for k in (4, 8, 16, 32)]


def test_detection_superlatives() -> None:
    middle = [
        name
        for name in published_ids()
        if issubclass(variants()[name].model, PyramidBackbone)
        and 20e6 <= parameters(name) <= 40e6
        and cast(PyramidBackbone, untrained(name)).strides == (4, 8, 16, 32)
    ]
    assert len(middle) > 3
    assert min(middle, key=lambda name: multiply_adds()[name]) == "twins_svt_small"
    assert min(named("detection"), key=parameters) == "pvt_v2_b0"
    assert untrained("maxvit_tiny_tf_512").image_size == (512, 512)
    assert small("PVTv2")(torch.zeros(1, 3, 61, 75)).shape == (1, 5)


def test_video() -> None:
    for name in named("video"):
        assert variants()[name].model.axes == (3,)
    for model in ("ViT", "SimpleViT"):
        assert 3 in get_model_class(model).axes
    joint, encoder, attention = (multiply_adds()[name] for name in named("video"))
    assert encoder < attention < joint
    with_weights = [name for name in named("video") if name in published_ids()]
    assert with_weights == ["vivit_base_patch16x2_224"]


def growth(name: str) -> float:
    """Multiply-adds with 16 times the tokens, over those with the model's own."""
    model = untrained(name)
    wide = tuple(4 * side for side in model.image_size)
    return shapes(model, wide)[-1].multiply_adds / multiply_adds()[name]


def test_long_sequences_are_linear_and_plain_attention_is_not() -> None:
    for name in (*named("long-sequences"), "xcit_nano_12_p16_224"):
        assert growth(name) < 1.05 * 16, name
    assert growth("vit_small_patch16_224") > 2 * 16


def test_names_for() -> None:
    assert list_models("pvt*", purpose="edge") == ["pvt_v2_b0"]
    assert list_models(purpose="video", pretrained=True) == ["vivit_base_patch16x2_224"]
    assert list_models(purpose="edge") == named("edge")
    message = (
        "purpose='phone' is not one of 'small-data', 'edge', 'detection', 'video', 'long-sequences'"
    )
    with pytest.raises(ConfigError, match=message):
        names_for("phone", MODEL_PURPOSES)
