"""`vitrail eval`: by the head, by what a run kept beside it, and by probes of the features."""

import json
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Command
from tests.models.small import small
from tests.train.tiny import tiny
from vitrail import load
from vitrail.hub.model_folder import save
from vitrail.models.base import Backbone
from vitrail.preprocess import Preprocess
from vitrail.train import trainer


def digits_model(name: str = "ViT", **more: object) -> Backbone:
    model = small(name, image_size=8, patch_size=2, channels=1, num_classes=0, **more)
    model.preprocess = Preprocess((8, 8), None, "bilinear", (0.5,), (0.5,))
    return model


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_a_model_without_a_head_is_judged_by_its_features(
    vitrail: Command, tmp_path: Path, probe: str
) -> None:
    save(digits_model(), tmp_path / "model")
    asked = ["eval", "model", "--data", "digits", "--probe", probe, "--json"]
    code, out, _ = vitrail(*asked, "--train-limit", "500")
    told = json.loads(out)
    assert code == 0
    assert told["count"] == 355 and told["training_images"] == 500 and told["probe"] == probe
    assert told["top1"] > {"knn": 0.15, "linear": 0.4}[probe]  # of random weights; chance is 0.1
    assert told["top5"] > told["top1"] and told["loss"] > 0
    code, out, _ = vitrail(*asked[:-1], "--train-limit", "100", "--limit", "50", "--layer", "1")
    assert code == 0
    assert out.startswith(f"digits test, 50 images, probe {probe}, training images 100")
    assert out.count("of 5)") == 10


def test_probes_see_what_the_features_are(
    vitrail: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On pixels, both reach what they are known to reach on digits."""
    save(digits_model(), tmp_path / "model")
    monkeypatch.setattr("vitrail.models.vit.ViT.pool", lambda _, features: features)
    monkeypatch.setattr("vitrail.models.vit.ViT.features", lambda _, images: images.flatten(1))
    for probe in ("knn", "linear"):
        _, out, _ = vitrail("eval", "model", "--data", "digits", "--probe", probe, "--json")
        assert json.loads(out)["top1"] > 0.93


def test_the_head_is_judged_as_the_run_judged_it(vitrail: Command, tmp_path: Path) -> None:
    figures = trainer.train(tiny("schedule.epochs=1"), tmp_path / "run")
    _, out, _ = vitrail("eval", "run", "--json")
    told = json.loads(out)
    assert told["top1"] == pytest.approx(figures["top1"])
    assert told["loss"] == pytest.approx(figures["loss"], abs=1e-5)
    assert vitrail("eval", "run", "--probe", "knn")[0] == 0  # a head does not stand in the way


def test_what_a_run_kept_beside_the_model_names_classes(vitrail: Command, tmp_path: Path) -> None:
    save(digits_model(), tmp_path / "base")
    run = tiny(
        f"model.weights={tmp_path / 'base'}", "model.options={}", "method.name=attentive_probe",
        "method.heads=2", "data.views={crop: none, flip: 0}", "data.limit=null", "optim.lr=0.01",
    )  # fmt: skip
    figures = trainer.train(run, tmp_path / "run")
    assert figures["loss"] < 2.25  # that of chance is 2.30
    base, kept = load(tmp_path / "base"), load(tmp_path / "run")
    assert kept.num_classes == 0 and kept.labels == [str(i) for i in range(10)]
    for key, value in kept.state_dict().items():
        assert torch.equal(value, base.state_dict()[key])
    _, out, _ = vitrail("eval", "run", "--json")
    told = json.loads(out)
    assert told["top1"] == pytest.approx(figures["top1"])
    assert told["loss"] == pytest.approx(figures["loss"], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ([], "model has no head that names classes: train one"),
        (["--probe", "nn"], "--probe='nn' is not one of 'knn', 'linear'"),
        (["--probe", "knn", "--split", "train"], "--probe learns from the training images: judge"),
        (["--train-limit", "9"], "--train-limit is of probes: add --probe knn or --probe linear"),
        (["--layer", "1"], "--layer is of probes: add --probe knn or --probe linear"),
        (["--probe", "knn", "--layer", "4"], "depth=4 is not within 1 to 3"),
    ],
)
def test_what_cannot_be_asked(
    vitrail: Command, tmp_path: Path, options: list[str], error: str
) -> None:
    save(digits_model(), tmp_path / "model")
    code, out, said = vitrail("eval", "model", "--data", "digits", *options)
    assert code == 2 and not out
    assert said.splitlines()[-1].startswith("error: ") and error in said
