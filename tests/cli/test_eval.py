"""`vitrail eval`: by the head, by a classifier that a run saved beside it, and by probes."""

import json
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Command, digits_model, settings
from vitrail import load
from vitrail.hub.model_folder import save
from vitrail.train.factory import train_run


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_a_model_without_a_head_is_evaluated_by_its_features(
    vitrail: Command, tmp_path: Path, probe: str
) -> None:
    save(digits_model(), tmp_path / "model")
    command = ["eval", "model", "--data", "digits", "--probe", probe, "--json"]
    code, out, _ = vitrail(*command, "--train-limit", "500")
    figures = json.loads(out)
    assert code == 0
    assert figures["count"] == 355
    assert figures["training_images"] == 500
    assert figures["probe"] == probe
    assert figures["top1"] > {"knn": 0.15, "linear": 0.4}[probe]  # random weights; chance is 0.1
    assert figures["top5"] > figures["top1"] and figures["loss"] > 0
    code, out, _ = vitrail(*command[:-1], "--train-limit", "100", "--limit", "50", "--layer", "1")
    assert code == 0
    assert out.startswith(f"digits test, 50 images, probe {probe}, training images 100")
    assert out.count("of 5;") == 10


def test_probes_of_pixels_reach_what_they_are_known_to_reach(
    vitrail: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(digits_model(), tmp_path / "model")
    monkeypatch.setattr("vitrail.models.vit.ViT.pool", lambda _, features: features)
    monkeypatch.setattr("vitrail.models.vit.ViT.features", lambda _, images: images.flatten(1))
    for probe in ("knn", "linear"):
        _, out, _ = vitrail("eval", "model", "--data", "digits", "--probe", probe, "--json")
        assert json.loads(out)["top1"] > 0.93


def test_the_head_is_evaluated_as_the_run_evaluated_it(vitrail: Command, tmp_path: Path) -> None:
    figures = train_run(settings(), tmp_path / "run")
    _, out, _ = vitrail("eval", "run", "--json")
    again = json.loads(out)
    assert again["top1"] == pytest.approx(figures["top1"])
    assert again["loss"] == pytest.approx(figures["loss"], abs=1e-5)
    assert vitrail("eval", "run", "--probe", "knn")[0] == 0  # also of a model with a head


def test_a_classifier_that_a_run_saved_beside_the_model_classifies(
    vitrail: Command, tmp_path: Path
) -> None:
    save(digits_model(), tmp_path / "base")
    values = settings(
        method={"name": "attentive_probe", "heads": 2},
        data={"augment": {"crop": "none", "flip": 0}},
        optim={"lr": 0.01, "ema": 0.9},
        schedule={"epochs": 4},
    )
    values["model"] = {"weights": str(tmp_path / "base")}
    figures = train_run(values, tmp_path / "run")
    assert figures["loss"] < 2.25  # that of chance is 2.30
    base, saved = load(tmp_path / "base"), load(tmp_path / "run")
    assert saved.num_classes == 0
    assert saved.labels == [str(i) for i in range(10)]
    for key, value in saved.state_dict().items():
        assert torch.equal(value, base.state_dict()[key])
    _, out, _ = vitrail("eval", "run", "--json")
    again = json.loads(out)
    assert again["top1"] == pytest.approx(figures["top1"])
    assert again["loss"] == pytest.approx(figures["loss"], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ([], "model has no head that classifies: train one"),
        (["--probe", "nn"], "--probe='nn' is not one of 'knn', 'linear'"),
        (
            ["--probe", "knn", "--split", "train"],
            "--probe='knn' learns from the training images: use --split='test'",
        ),
        (["--train-limit", "9"], "--train-limit=9 is for probes: add --probe='knn' or --probe="),
        (["--layer", "1"], "--layer=1 is for probes: add --probe='knn' or --probe='linear'"),
        (["--probe", "knn", "--layer", "4"], "--layer=4: depth=4 is not within 1 to 3"),
        (["--bad-images", "drop"], "--bad-images='drop' is not one of 'raise', 'skip'"),
        (["--probe", "knn", "--precision", "fp8"], "--precision='fp8' is not one of 'auto'"),
    ],
)
def test_options_that_contradict(
    vitrail: Command, tmp_path: Path, options: list[str], error: str
) -> None:
    save(digits_model(), tmp_path / "model")
    code, out, errors = vitrail("eval", "model", "--data", "digits", *options)
    assert code == 2 and not out
    assert errors.splitlines()[-1].startswith("error: ")
    assert error in errors


def test_classes_must_be_those_of_the_dataset(vitrail: Command, tmp_path: Path) -> None:
    model = digits_model(num_classes=3)
    save(model, tmp_path / "three")
    code, _, errors = vitrail("eval", "three", "--data", "digits")
    assert code == 2
    assert "three has 3 classes and digits 10" in errors
    model = digits_model(num_classes=10)
    model.labels = [f"class {i}" for i in range(10)]
    save(model, tmp_path / "ten")
    code, _, errors = vitrail("eval", "ten", "--data", "digits")
    assert code == 2
    assert "ten: digits has unknown classes '0', '1', '2', '3', '4' and 5 more" in errors
