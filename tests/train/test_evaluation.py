"""`vitrail.evaluate` gives the figures of the run and of the command."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from tests.cli.conftest import Command, digits_model
from tests.cli.conftest import vitrail as command  # noqa: F401, a fixture
from vitrail.data.registry import open_dataset
from vitrail.errors import VitrailError
from vitrail.hub.model_folder import save
from vitrail.train.runs import TrainingRun

SMALL = {"patch_size": 4, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    folder = tmp_path_factory.mktemp("evaluation") / "run"
    return vitrail.fit(
        "ViT", data="digits", options=SMALL, crop="none", epochs=2, lr=1e-2, threads=1, out=folder
    )


def test_a_run_a_folder_and_a_model_are_evaluated_alike(run: TrainingRun) -> None:
    result = vitrail.evaluate(run)
    assert result.top1 == pytest.approx(run.metrics["top1"])
    assert result.loss == pytest.approx(run.metrics["loss"], abs=1e-5)
    assert list(result.labels) == [str(i) for i in range(10)]
    assert result.details == {"data": "digits", "split": "test"}
    assert vitrail.evaluate(str(run.folder)).figures == result.figures
    assert vitrail.evaluate(run.model, "digits").figures == result.figures
    assert vitrail.evaluate(run.model, open_dataset("digits", "test")).figures == result.figures
    half = vitrail.evaluate(run, precision="bf16")
    assert half.loss == pytest.approx(result.loss, abs=0.02) and half.loss != result.loss


def test_a_run_keeps_a_table_of_its_classes(run: TrainingRun) -> None:
    with open(run.folder / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    result = vitrail.evaluate(run)
    assert [row["label"] for row in rows] == list(result.labels)
    assert [float(row["recall"]) for row in rows] == [row.recall for row in result.classes]


def test_it_says_what_the_command_says(run: TrainingRun, command: Command) -> None:  # noqa: F811
    for probe in (None, "knn", "linear"):
        options = (
            [] if probe is None else ["--probe", probe, "--layer", "1", "--train-limit", "200"]
        )
        _, out, _ = command("eval", str(run.folder), "--json", *options)
        more: dict[str, Any] = (
            {} if probe is None else {"probe": probe, "layer": 1, "train_limit": 200}
        )
        result = vitrail.evaluate(run, **more)
        classes = [row._asdict() for row in result.classes]
        expected = {**result.figures, **result.scores, **result.details, "classes": classes}
        assert json.loads(out) == expected


def test_the_model_is_left_as_it_is(run: TrainingRun) -> None:
    model = vitrail.load(run.folder).train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    vitrail.evaluate(model, "digits", probe="knn", layer=1, image_size=12, limit=20)
    vitrail.evaluate(model, "digits", limit=20, precision="auto")
    assert model.training and model.depth == 2 and model.preprocess.size == (8, 8)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_the_training_images_are_evaluated_too(run: TrainingRun) -> None:
    assert vitrail.evaluate(run, split="train").figures["count"] == 1157
    assert vitrail.evaluate(run, split="val").figures["count"] == 285
    assert vitrail.evaluate(run, split="all").figures["count"] == 1797
    assert vitrail.evaluate(run, split="train", limit=30).figures["count"] == 30


def test_a_probe_learns_from_no_image_that_it_is_evaluated_on() -> None:
    digits = open_dataset("digits", "test", limit=100)
    pairs = [(digits.read(i), target) for i, target in enumerate(digits.targets())]
    result = vitrail.evaluate(digits_model(), pairs, probe="knn")
    assert result.figures["count"] == 20
    assert result.details["training_images"] == 80
    both = vitrail.evaluate(digits_model(), (pairs, pairs[:30]), probe="knn")
    assert (both.figures["count"], both.details["training_images"]) == (30, 100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"data": None},
            "this ViT is no run, so its dataset is unknown: give one, as data=",
        ),
        ({}, "this ViT has no head that classifies: train one by vitrail.fit, or evaluate"),
        ({"probe": "nn"}, "probe='nn' is not one of 'knn', 'linear'"),
        ({"probe": "knn", "split": "train"}, "probe='knn' learns from the training images"),
        ({"probe": "knn", "layer": 9}, "layer=9: depth=9 is not within 1 to 3"),
        ({"train_limit": 9}, "train_limit=9 is for probes: add probe='knn'"),
        ({"split": "val"}, "digits has no split 'val': it has 'train', 'test', and 'all'"),
        ({"data": "folder:nowhere"}, "no folder 'nowhere'"),
        ({"probe": "knn", "image_size": 5}, "image_size=5: .* does not divide into patches"),
        ({"probe": "knn", "precision": "fp8"}, "precision='fp8' is not one of 'auto'"),
    ],
)
def test_bad_input_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(VitrailError, match=message) as caught:
        vitrail.evaluate(digits_model(), **{"data": "digits", **options})
    assert "\n" not in str(caught.value)


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    from tests.cli.conftest import photographs

    photographs(tmp_path / "photos")
    (tmp_path / "photos" / "cat" / "text.jpg").write_text("not a photograph")
    model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
    with pytest.raises(VitrailError, match="text.jpg .*or set bad_images='skip' to leave them"):
        vitrail.evaluate(model, f"folder:{tmp_path / 'photos'}")
    result = vitrail.evaluate(model, tmp_path / "photos", bad_images="skip")
    assert result.figures["count"] == 10


def test_classes_must_be_those_of_the_data(tmp_path: Path) -> None:
    model = digits_model(num_classes=3)
    with pytest.raises(VitrailError, match="this ViT has 3 classes and digits 10"):
        vitrail.evaluate(model, "digits")
    save(model, tmp_path / "three")
    with pytest.raises(VitrailError, match="three has 3 classes and digits 10"):
        vitrail.evaluate(tmp_path / "three", "digits")
