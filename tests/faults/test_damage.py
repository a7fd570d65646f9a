"""Damage of any file is noticed: a resumed run falls back, a model is not loaded."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import vitrail
from tests.train.tiny import RaiseAt, tiny
from vitrail.errors import DamagedError, LoadError, TrainingError
from vitrail.hub.method_folder import load_method
from vitrail.manifest import MANIFEST, check_manifest
from vitrail.run_folder import RunFolder
from vitrail.train import checkpoint
from vitrail.train.factory import train_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder(tmp_path_factory.mktemp("finished") / "run")
    train_run(tiny("schedule.epochs=1", "method={name: simmim}"), run.path)
    return run


def damage(path: Path, choose: random.Random) -> None:
    """Flips a bit of a file, or cuts it short."""
    content = bytearray(path.read_bytes())
    position = choose.randrange(len(content))
    if choose.random() < 0.2:
        del content[position:]
    else:
        content[position] ^= 1 << choose.randrange(8)
    path.write_bytes(bytes(content))


def noticed(folder: Path, read: Callable[[], object], times: int) -> None:
    """Each damage of each file of a folder is one typed error."""
    choose = random.Random(0)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for number in range(times):
            damage(path, choose)
            with pytest.raises(DamagedError) as caught:
                read()
            assert "\n" not in str(caught.value), number
            path.write_bytes(whole)
        if path.name != MANIFEST:
            path.unlink()
            with pytest.raises(LoadError):  # without its config a folder is no model's
                read()
            path.write_bytes(whole)
    read()


def all_damage(run: RunFolder, times: int) -> None:
    assert {path.name for path in run.checkpoints[-1].iterdir()} == {
        "model.safetensors", "optimizer.safetensors", "ema.safetensors", "state.json", MANIFEST,
    }  # fmt: skip
    noticed(run.checkpoints[-1], lambda: checkpoint._read(run.checkpoints[-1], False), times)
    noticed(run.model_folder, lambda: vitrail.load(run.path), times)
    noticed(run.method_folder, lambda: load_method(run.path), times)


def test_damage_of_any_file_is_noticed(finished: RunFolder) -> None:
    all_damage(finished, 4)


@pytest.mark.slow
def test_a_thousand_damages_are_noticed(finished: RunFolder) -> None:
    all_damage(finished, 90)


def test_damage_is_read_where_it_is_trusted(finished: RunFolder, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(finished.model_folder, model)
    text = (model / "config.json").read_text()
    (model / "config.json").write_text(text + "\n")
    with pytest.raises(DamagedError, match="delete manifest.json or give trust=True"):
        vitrail.load(model)
    assert vitrail.load(model, trust=True)
    (model / MANIFEST).unlink()  # as in folders of an older Vitrail
    check_manifest(model)
    assert vitrail.load(model)


def test_a_run_falls_back_to_the_older_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, run = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run")
    train_run(tiny(), whole.path)
    with pytest.raises(ZeroDivisionError):
        train_run(tiny(), run.path, callbacks=[RaiseAt(17)])
    older, newer = run.checkpoints
    for number, name in enumerate(("state.json", "model.safetensors", MANIFEST)):
        again = RunFolder(tmp_path / f"again{number}")
        shutil.copytree(run.path, again.path)
        damage(again.checkpoints[-1] / name, random.Random(number))
        train_run(tiny(), again.path, resume=True)
        lines = [line for line in capsys.readouterr().err.splitlines() if "is damaged" in line]
        assert len(lines) == 1, lines
        assert f"Going on from {again.path / 'checkpoints' / older.name}." in lines[0]
        assert again.metrics == whole.metrics
        assert [path.name for path in again.checkpoints] == [p.name for p in whole.checkpoints]
    for path in (older, newer):
        damage(path / "optimizer.safetensors", random.Random(0))
    with pytest.raises(TrainingError, match="has no whole checkpoint: .*step-00000015.*damaged"):
        train_run(tiny(), run.path, resume=True)
    train_run(tiny(), run.path, resume=True, trust=True)
