"""Checkpoints, and weights that a run starts from."""

import json
from pathlib import Path

import pytest
import torch

import vitrail
from tests.train.tiny import tiny
from vitrail.errors import ConfigError, TrainingError
from vitrail.run_folder import RunFolder
from vitrail.train.checkpoint import load_checkpoint
from vitrail.train.factory import train_run


def test_the_newest_whole_checkpoint_counts(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    train_run(tiny("schedule.epochs=1"), run.path)
    whole = run.checkpoints
    assert [p.name for p in whole] == ["step-00000010", "step-00000012"]
    (run.checkpoints_folder / "step-00000099.writing").mkdir()
    assert run.checkpoints == whole
    state = json.loads((whole[-1] / "state.json").read_text())
    assert state["step"] == 12
    before_test = [line for line in run.metrics if line["split"] != "test"]
    length = state["callbacks"]["RunLog"]["FileWriter"]["lengths"]["metrics"]
    logged = run.metrics_file.read_bytes()[:length]
    assert [json.loads(line) for line in logged.splitlines()] == before_test
    pickles = (".pt", ".pth", ".bin", ".pkl")
    assert not [p for p in run.path.rglob("*") if p.suffix in pickles]
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        load_checkpoint(RunFolder(tmp_path), None)  # type: ignore[arg-type]


def test_weights_go_on_with_their_head_where_the_classes_are_the_same(tmp_path: Path) -> None:
    train_run(tiny("schedule.epochs=1"), tmp_path / "base")
    more = (f"model.weights={tmp_path / 'base'}", "model.options={}", "schedule.epochs=1")
    train_run(tiny(*more, "optim.lr=1e-12", "optim.ema=0"), tmp_path / "more")
    base, again = vitrail.load(tmp_path / "base"), vitrail.load(tmp_path / "more")
    torch.testing.assert_close(base.head.weight, again.head.weight, atol=1e-6, rtol=0)
    with pytest.raises(ConfigError, match=r"model.options: .*dim"):
        train_run(tiny(*more, "model.options={dim: 3}"), tmp_path / "other")
