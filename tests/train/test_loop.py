"""The loop: it learns, repeats itself to the byte, and stops without losing anything."""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from tests.train.tiny import tiny
from vitrail import files
from vitrail.errors import ConfigError, TrainingError
from vitrail.train import checkpoint, trainer
from vitrail.train.config import RunConfig


def digest(run: Path) -> dict[str, str]:
    """sha256 of all that must not depend on whether a run was interrupted."""
    last = checkpoint.folders(run)[-1]
    watched = [
        *sorted(last.glob("*.safetensors")),
        run / "metrics.jsonl",
        run / "model" / "model.safetensors",
        run / "evaluation.json",
    ]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in watched}


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_digits_and_writes_what_it_should(tmp_path: Path) -> None:
    run = tiny("data.limit=null", "schedule.epochs=10", "data.views={crop: none, flip: 0}")
    figures = trainer.train(run, tmp_path / "run", command="vitrail train digits")
    assert figures["top1"] > 0.6  # chance is 0.1
    model = vitrail.load(tmp_path / "run")
    assert model.labels == [str(i) for i in range(10)]
    assert model.preprocess.size == (8, 8)
    lines = metrics(tmp_path / "run")
    train = [line["loss"] for line in lines if line["split"] == "train"]
    assert train[-1] < 0.8 * train[0]
    assert sum(line["split"] == "val" for line in lines) == 10
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert sum(map(sum, evaluation["confusion"])) == evaluation["count"] == 355
    right = sum(evaluation["confusion"][i][i] for i in range(10))
    assert evaluation["top1"] == pytest.approx(right / 355)
    assert all(entry["truth"] != entry["predicted"] for entry in evaluation["mistakes"])


def test_the_same_run_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        trainer.train(tiny(), tmp_path / name)
    trainer.train(tiny("train.seed=1"), tmp_path / "other")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert digest(tmp_path / "one") != digest(tmp_path / "other")


def cut_and_resume(run: RunConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains until step 8, as if killed there, and goes on."""
    steps = trainer.Trainer._step
    stop_after = 8

    def stop(self: trainer.Trainer, step: int, batches: object) -> object:
        if step == stop_after:
            raise ZeroDivisionError
        return steps(self, step, batches)

    monkeypatch.setattr(trainer.Trainer, "_step", stop)
    with pytest.raises(ZeroDivisionError):
        trainer.train(run, folder)
    monkeypatch.undo()
    torch.manual_seed(1234)  # a new process has other generators
    trainer.train(run, folder, resume=True)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumed_in_the_middle_of_an_epoch_gives_the_same_bytes(
    tmp_path: Path, accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny(f"optim.accumulate={accumulate}")
    trainer.train(run, tmp_path / "whole")
    cut_and_resume(run, tmp_path / "cut", monkeypatch)
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = trainer.Trainer._step

    def poison(self: trainer.Trainer, step: int, batches: object) -> object:
        if step == 12:
            with torch.no_grad():
                self.model.head.weight.fill_(torch.nan)
        return steps(self, step, batches)

    monkeypatch.setattr(trainer.Trainer, "_step", poison)
    with pytest.raises(
        TrainingError, match=r"gradient is not finite at step 13; .*step-00000010\. Lower optim"
    ):
        trainer.train(tiny(), tmp_path / "run")
    monkeypatch.undo()
    trainer.train(tiny(), tmp_path / "run", resume=True)  # the checkpoint was good
    trainer.train(tiny(), tmp_path / "whole")
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")


def test_a_full_disk_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 20:  # the second checkpoint is under way
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(TrainingError, match="No space left on device|disk is full") as caught:
        trainer.train(tiny(), tmp_path / "run")
    assert "last good checkpoint is" in str(caught.value)
    monkeypatch.undo()
    assert not list((tmp_path / "run").rglob("*.writing"))
    trainer.train(tiny(), tmp_path / "run", resume=True)
    trainer.train(tiny(), tmp_path / "whole")
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(tmp_path: Path) -> None:
    trainer.train(tiny("schedule.epochs=1"), tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run: add --resume"):
        trainer.train(tiny("schedule.epochs=1"), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"optim.lr was 0.003 and is 0.1 now"):
        trainer.train(tiny("schedule.epochs=1", "optim.lr=0.1"), tmp_path / "run", resume=True)
    before = digest(tmp_path / "run")
    trainer.train(tiny("schedule.epochs=1", "data.workers=1"), tmp_path / "run", resume=True)
    assert digest(tmp_path / "run") == before
    with pytest.raises(ConfigError, match="holds no run to resume"):
        trainer.train(tiny(), tmp_path / "elsewhere", resume=True)


def test_gradient_checkpointing_and_bf16_train_too(tmp_path: Path) -> None:
    plain = trainer.train(tiny("schedule.epochs=1"), tmp_path / "plain")
    checkpointed = trainer.train(
        tiny("schedule.epochs=1", "train.gradient_checkpointing=true"), tmp_path / "checkpointed"
    )
    assert checkpointed["loss"] == pytest.approx(plain["loss"], abs=1e-4)
    half = trainer.train(tiny("schedule.epochs=1", "train.precision=bf16"), tmp_path / "half")
    assert half["loss"] == pytest.approx(plain["loss"], abs=0.1)
    assert half["loss"] != plain["loss"]


def test_a_linear_probe_moves_only_the_head(tmp_path: Path) -> None:
    trainer.train(tiny("schedule.epochs=1"), tmp_path / "base")
    probe = tiny(
        f"model.weights={tmp_path / 'base'}",
        "model.options={}",
        "method.name=linear_probe",
        "optim.lr=0.02",
        "schedule.epochs=10",
    )
    figures = trainer.train(probe, tmp_path / "probe")
    before, after = vitrail.load(tmp_path / "base"), vitrail.load(tmp_path / "probe")
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, after.state_dict()[name]) == (not name.startswith("head."))
    lines = [line for line in metrics(tmp_path / "probe") if line["split"] == "val"]
    # The head learned on standardised features and is judged on images: it must be the same one.
    assert lines[-1]["top1"] == pytest.approx(figures["top1"])
    assert lines[-1]["loss"] == pytest.approx(figures["loss"], abs=1e-4)
    assert lines[-1]["loss"] < lines[0]["loss"]
