"""A run learns, repeats itself to the byte, and stops without losing anything."""

import errno
import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitrail
from tests.train.tiny import RaiseAt, tiny
from vitrail import files
from vitrail.data.registry import open_dataset
from vitrail.errors import ConfigError, TrainingError
from vitrail.run_folder import RunFolder
from vitrail.train.callback import Callback
from vitrail.train.config import RunConfig
from vitrail.train.data_factory import Datasets
from vitrail.train.factory import train_run
from vitrail.train.summary import describe_run
from vitrail.train.trainer import Trainer


def digest(run: Path) -> dict[str, str]:
    """sha256 of all that must not depend on whether a run was interrupted."""
    folder = RunFolder(run)
    files_to_compare = [
        *sorted(folder.checkpoints[-1].glob("*.safetensors")),
        folder.metrics_file,
        folder.model_folder / "model.safetensors",
        folder.evaluation_file,
    ]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files_to_compare}


def metrics(run: Path) -> list[dict[str, Any]]:
    return RunFolder(run).metrics


def test_it_learns_digits_and_writes_its_folder(tmp_path: Path) -> None:
    settings = ("data.limit=null", "schedule.epochs=5", "optim.lr=0.01")
    run = tiny(*settings, "data.augment={crop: none, flip: 0}")
    figures = train_run(run, tmp_path / "run", command="vitrail train digits")
    assert figures["top1"] > 0.6  # chance is 0.1
    model = vitrail.load(tmp_path / "run")
    assert model.labels == [str(i) for i in range(10)]
    assert model.preprocess.size == (8, 8)
    lines = metrics(tmp_path / "run")
    train = [line["loss"] for line in lines if line["split"] == "train"]
    assert train[-1] < 0.8 * train[0]
    assert sum(line["split"] == "val" for line in lines) == 5
    folder = RunFolder(tmp_path / "run")
    evaluation = folder.evaluation
    assert sum(map(sum, evaluation["confusion"])) == evaluation["count"] == 355
    right = sum(evaluation["confusion"][i][i] for i in range(10))
    assert evaluation["top1"] == pytest.approx(right / 355)
    assert all(entry["truth"] != entry["predicted"] for entry in evaluation["mistakes"])
    confidence = [entry["confidence"] for entry in evaluation["mistakes"]]
    assert confidence == sorted(confidence, reverse=True)
    assert folder.command == "vitrail train digits"
    assert folder.settings["schedule"]["epochs"] == 5
    images = folder.example_images
    assert images is not None
    assert len(images) == len(evaluation["mistakes"]) + len(evaluation["examples"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run from its beginning to its end, which no test changes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train_run(tiny(), folder)
    return folder


def test_the_order_of_the_log(whole: Path) -> None:
    """Every `log_every` steps and at the end, with the evaluation after the step that ends it."""
    lines = [(line["step"], line["split"]) for line in metrics(whole)]
    train = [(step, "train") for step in (3, 6, 9, 12, 15, 18, 21, 24)]
    assert lines == [*train[:4], (12, "val"), *train[4:], (24, "val"), (24, "test")]
    assert list(metrics(whole)[0]) == ["step", "split", "epoch", "loss", "lr", "grad_norm"]
    timing = RunFolder(whole).timing
    assert [line["step"] for line in timing] == [step for step, _ in train]
    assert all(line["images_per_second"] > 0 for line in timing)


def test_the_same_run_twice_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    train_run(tiny(), tmp_path / "again")
    train_run(tiny("train.seed=1"), tmp_path / "other")
    assert digest(whole) == digest(tmp_path / "again")
    assert digest(whole) != digest(tmp_path / "other")


def cut_and_resume(run: RunConfig, folder: Path) -> None:
    """Trains until step 8, as if killed there, and goes on."""
    with pytest.raises(ZeroDivisionError):
        train_run(run, folder, callbacks=[RaiseAt(8)])
    torch.manual_seed(1234)  # a new process has other generators
    train_run(run, folder, resume=True)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumed_in_the_middle_of_an_epoch_gives_the_same_bytes(
    tmp_path: Path, accumulate: int
) -> None:
    run = tiny(f"optim.accumulate={accumulate}")
    train_run(run, tmp_path / "whole")
    cut_and_resume(run, tmp_path / "cut")
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


class Counter(Callback):
    """Counts steps, and keeps the count in the checkpoints."""

    def __init__(self) -> None:
        self.count = 0

    def after_step(self, trainer: Trainer, values: Any) -> None:
        self.count += 1

    def state(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def test_checkpoints_hold_the_state_of_callbacks(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        train_run(tiny(), tmp_path / "run", callbacks=[Counter(), RaiseAt(8)])
    counter = Counter()
    train_run(tiny(), tmp_path / "run", resume=True, callbacks=[counter])
    assert counter.count == 24


class Poison(Callback):
    """Spoils the weights before step 13."""

    def before_step(self, trainer: Trainer) -> None:
        if trainer.step == 12:
            with torch.no_grad():
                trainer.method.backbone.head.weight.fill_(torch.nan)


def test_a_loss_that_is_not_finite_stops_and_leaves_the_checkpoint(
    whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        TrainingError,
        match=r"gradient is not finite at step 13; .*step-00000010\. Lower the learning rate \(now "
        r"0.003\) or lengthen",
    ):
        train_run(tiny(), tmp_path / "run", callbacks=[Poison()])
    train_run(tiny(), tmp_path / "run", resume=True)  # the checkpoint was good
    assert digest(tmp_path / "run") == digest(whole)


def test_a_full_disk_leaves_the_last_good_checkpoint(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 20:  # the second checkpoint is under way
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(TrainingError, match="No space left on device|disk is full") as caught:
        train_run(tiny(), tmp_path / "run")
    assert "last good checkpoint is" in str(caught.value)
    monkeypatch.undo()
    assert not list((tmp_path / "run").rglob("*.writing"))
    train_run(tiny(), tmp_path / "run", resume=True)
    assert digest(tmp_path / "run") == digest(whole)


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(tmp_path: Path) -> None:
    train_run(tiny("schedule.epochs=1"), tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run: resume it .* or choose another"):
        train_run(tiny("schedule.epochs=1"), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"optim.ema was 0.9 and is 0.5 now"):
        train_run(tiny("schedule.epochs=1", "optim.ema=0.5"), tmp_path / "run", resume=True)
    before = digest(tmp_path / "run")
    train_run(tiny("schedule.epochs=1", "data.workers=1"), tmp_path / "run", resume=True)
    assert digest(tmp_path / "run") == before
    with pytest.raises(ConfigError, match="holds no run to resume"):
        train_run(tiny(), tmp_path / "elsewhere", resume=True)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("Chapter 1")
    with pytest.raises(ConfigError, match="holds files that are no run's: choose another folder"):
        train_run(tiny(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_says_at_its_start_what_it_trains_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_run(tiny("schedule.epochs=1"), tmp_path / "run")
    start = capsys.readouterr().err
    for line in (
        "data: digits",
        "  train: 400 images in 10 classes (40 each)",
        "  test: 355 images in 10 classes (0 35, 1 36, 2 35,",
        "model: ViT, 8 x 8 pixels, 18,154 parameters, 18,154 of them trained",
        "training: supervised, 1 epoch of 12 steps, with batches of 32; cpu",
        "  each epoch leaves out 16 of 400 training images, others each time",
        f"report: {tmp_path / 'run' / 'report.html'}",
    ):
        assert line in start
    summary = RunFolder(tmp_path / "run").summary
    assert summary["data"]["splits"]["train"] == {
        "images": 400, "classes": {str(label): 40 for label in range(10)}
    }  # fmt: skip
    assert summary["training"]["steps"] == 12


def test_one_step_is_no_steps() -> None:
    model = {"architecture": "ViT", "size": 8, "parameters": 2, "trained_parameters": 2}
    training = {"method": "mae", "epochs": 1, "steps_per_epoch": 1, "steps": 1, "batch_size": 4}
    summary = {
        "data": {"source": "digits", "splits": {}},
        "model": {**model, "image_size": [8, 8], "weights": None},
        "training": {**training, "accumulate": 1, "left_out_per_epoch": 0},
        "device": "cpu", "precision": "fp32", "report": "report.html",
    }  # fmt: skip
    lines = describe_run(summary, Datasets(open_dataset("digits", limit=20)))
    assert lines[2] == "training: mae, 1 epoch of 1 step, with batches of 4; cpu, fp32"


def test_gradient_checkpointing_and_bf16_train_too(tmp_path: Path) -> None:
    plain = train_run(tiny("schedule.epochs=1"), tmp_path / "plain")
    checkpointed = train_run(
        tiny("schedule.epochs=1", "train.gradient_checkpointing=true"), tmp_path / "checkpointed"
    )
    assert checkpointed["loss"] == pytest.approx(plain["loss"], abs=1e-4)
    half = train_run(tiny("schedule.epochs=1", "train.precision=bf16"), tmp_path / "half")
    assert half["loss"] == pytest.approx(plain["loss"], abs=0.1)
    assert half["loss"] != plain["loss"]


def test_a_linear_probe_moves_only_the_head(tmp_path: Path) -> None:
    train_run(tiny("schedule.epochs=1"), tmp_path / "base")
    probe = tiny(
        f"model.weights={tmp_path / 'base'}",
        "model.options={}",
        "method.name=linear_probe",
        "optim.lr=0.02",
        "schedule.epochs=10",
        "train.keep=last",
    )
    figures = train_run(probe, tmp_path / "probe")
    before, after = vitrail.load(tmp_path / "base"), vitrail.load(tmp_path / "probe")
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, after.state_dict()[name]) == (not name.startswith("head."))
    lines = [line for line in metrics(tmp_path / "probe") if line["split"] == "val"]
    # The head learned on standardized features and is evaluated on images: it must be the same.
    assert lines[-1]["top1"] == pytest.approx(figures["val_top1"])
    assert lines[-1]["loss"] == pytest.approx(figures["val_loss"], abs=1e-4)
    assert lines[-1]["loss"] < lines[0]["loss"]
    cut_and_resume(probe, tmp_path / "cut")
    assert digest(tmp_path / "cut") == digest(tmp_path / "probe")


def test_clips_train_a_model_of_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips (T, H, W) of two classes: dark, or bright at the beginning."""
    from vitrail.data import registry
    from vitrail.data.dataset import Dataset
    from vitrail.data.in_memory import InMemoryDataset

    def clips(split: str) -> Dataset:
        generator = np.random.default_rng(0 if split == "train" else 1)
        targets = torch.arange(60) % 2
        pixels = torch.from_numpy(generator.integers(0, 60, (60, 1, 4, 8, 8), dtype=np.uint8))
        pixels[targets == 1, :, :2] += 150
        return InMemoryDataset(pixels, targets, ["dark", "bright"], name="clips")

    parts = {split: functools.partial(clips, split) for split in ("train", "test")}
    monkeypatch.setitem(registry.PACKAGED, "clips", lambda: parts)
    options = (
        "{image_size: [4, 8, 8], patch_size: [2, 4, 4], dim: 16, depth: 1, heads: 2, mlp_dim: 16}"
    )
    run = tiny(
        "data.source=clips", "data.limit=null", f"model.options={options}", "optim.ema=0",
        "data.augment={crop: none, flip: 0.5}", "schedule.epochs=12", "data.batch_size=12",
    )  # fmt: skip
    assert train_run(run, tmp_path / "run")["top1"] > 0.9
    assert vitrail.load(tmp_path / "run").image_size == (4, 8, 8)
    jitter = ("data.source=clips", f"model.options={options}", "data.augment={jitter: 0.4}")
    with pytest.raises(ConfigError, match=r"data.augment: jitter=0.4 is for images"):
        train_run(tiny(*jitter), tmp_path / "no")


def test_settings_may_be_a_recipe_or_plain_values(tmp_path: Path) -> None:
    from tests.train.tiny import TINY, write_recipe

    recipe = write_recipe(tmp_path / "recipe.yaml", "schedule.epochs=1")
    values = {**TINY, "schedule": {"epochs": 1}}
    first = train_run(recipe, tmp_path / "one")
    second = train_run(values, tmp_path / "two")
    assert first == second
    assert json.loads(RunFolder(tmp_path / "one").evaluation_file.read_text())["count"] == 355
