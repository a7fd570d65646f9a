"""Checkpoints of several processes: damage and full disks, and what becomes of them."""

import errno
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import vitrail
from tests.faults.test_damage import damage
from tests.train.processes import in_processes
from tests.train.tiny import RaiseAt, tiny
from vitrail.cli.main import build_app
from vitrail.errors import ConfigError, DamagedError, TrainingError
from vitrail.manifest import MANIFEST
from vitrail.methods import distributed
from vitrail.run_folder import RunFolder
from vitrail.train import checkpoint
from vitrail.train.checkpoint_model import save_checkpoint_model
from vitrail.train.factory import train_run

SETTINGS = ("train.sharding=fsdp", "data.limit=200", "train.save_every=2", "schedule.epochs=1")


def stop_at(folder: Path, step: int) -> None:
    with pytest.raises(ZeroDivisionError):
        train_run(tiny(*SETTINGS), folder, callbacks=[RaiseAt(step)])


def finish(folder: Path, *settings: str) -> None:
    train_run(tiny(*SETTINGS, *settings), folder, resume=True)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with checkpoints of steps 2 and 4."""
    run = RunFolder(tmp_path_factory.mktemp("stopped") / "run")
    in_processes(2, stop_at, run.path, 5)
    return run


def test_damage_of_any_file_is_noticed(stopped: RunFolder) -> None:
    choose, newest = random.Random(0), stopped.checkpoints[-1]
    names = sorted(path.name for path in newest.iterdir())
    assert names == [MANIFEST, "shard-00001-model-00001-of-00001.safetensors",
                     "shard-00002-model-00001-of-00001.safetensors", "state.json"]  # fmt: skip
    checkpoint._read(newest, False)
    for name in names:
        whole = (newest / name).read_bytes()
        for _number in range(5):
            damage(newest / name, choose)
            with pytest.raises(DamagedError):
                checkpoint._read(newest, False)
            (newest / name).write_bytes(whole)


def test_all_processes_go_back_to_the_checkpoint_that_is_whole(
    stopped: RunFolder, tmp_path: Path
) -> None:
    whole, run = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run")
    for copied in (whole, run):
        shutil.copytree(stopped.path, copied.path)
    damage(next(run.checkpoints[-1].glob("shard-00002*")), random.Random(1))
    in_processes(2, finish, whole.path)
    in_processes(2, finish, run.path)
    assert run.metrics == whole.metrics
    files = [path.model_folder / "model.safetensors" for path in (whole, run)]
    assert files[0].read_bytes() == files[1].read_bytes()


def fill_disk(folder: Path) -> str:
    real = os.fsync

    def refuse(descriptor: int) -> None:
        if "step-00000004" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    if distributed.rank() == 1:
        os.fsync = refuse
    with pytest.raises(TrainingError) as caught:
        train_run(tiny(*SETTINGS), folder)
    os.fsync = real
    return str(caught.value)


def test_a_disk_that_is_full_for_one_process_stops_all(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    lines = in_processes(2, fill_disk, run.path)
    assert lines[0] == lines[1]
    assert "step 4 cannot be saved" in lines[0] and os.strerror(errno.ENOSPC) in lines[0]
    assert "step-00000002" in lines[0] and "Make room." in lines[0]
    assert [path.name for path in run.checkpoints_folder.iterdir()] == ["step-00000002"]


def test_a_checkpoint_becomes_a_model_folder(stopped: RunFolder, tmp_path: Path) -> None:
    folder = save_checkpoint_model(stopped.checkpoints[0], tmp_path / "two")
    command = ["convert", str(stopped.path), str(tmp_path / "four")]
    assert CliRunner().invoke(build_app(), command).exit_code == 0
    run = RunFolder(tmp_path / "run")
    shutil.copytree(stopped.path, run.path)
    two, four = (vitrail.load(tmp_path / name).state_dict() for name in ("two", "four"))
    assert folder == tmp_path / "two"
    assert any(not torch.equal(two[name], four[name]) for name in two)
    averages = checkpoint._beneath("ema/backbone.", checkpoint.read_shards(stopped.checkpoints[1]))
    assert averages.keys() == four.keys()
    for name, tensor in averages.items():
        assert torch.equal(four[name], tensor), name
    # The model of a run that has ended is that of its best epoch, not of its last step.
    shutil.copytree(folder, run.model_folder)
    command = ["convert", str(run.path), str(tmp_path / "best")]
    assert CliRunner().invoke(build_app(), command).exit_code == 0
    best = vitrail.load(tmp_path / "best").state_dict()
    assert all(torch.equal(best[name], tensor) for name, tensor in two.items())
    done = CliRunner().invoke(build_app(), command)  # the folder is there now
    assert isinstance(done.exception, ConfigError) and "choose a new folder" in str(done.exception)
    with pytest.raises(ConfigError, match="is no run and no checkpoint of one"):
        save_checkpoint_model(tmp_path, tmp_path / "model")


def test_what_a_launcher_starts_anew_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, run = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run")
    train_run(tiny(*SETTINGS), whole.path)
    with pytest.raises(ZeroDivisionError):
        train_run(tiny(*SETTINGS), run.path, callbacks=[RaiseAt(1)])  # before any checkpoint
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    for restarts, step in ((1, 1), (2, 5)):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))
        with pytest.raises(ZeroDivisionError):
            train_run(tiny(*SETTINGS), run.path, callbacks=[RaiseAt(step)])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    with pytest.raises(ConfigError, match="already holds a run"):
        train_run(tiny(*SETTINGS), run.path)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "3")
    train_run(tiny(*SETTINGS), run.path)
    assert run.metrics == whole.metrics
