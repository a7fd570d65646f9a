"""Damage of any file is noticed: a resumed run falls back, a model is not loaded."""

import contextlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

import vitrail
from tests.cli.conftest import photographs
from tests.train.tiny import RaiseAt, tiny
from vitrail.cli.main import main
from vitrail.errors import DamagedError, LoadError, TrainingError
from vitrail.hub.convert import convert
from vitrail.hub.method_folder import load_method
from vitrail.manifest import MANIFEST, check_manifest
from vitrail.run_folder import RunFolder
from vitrail.train import checkpoint
from vitrail.train.callback import Callback, Values
from vitrail.train.factory import train_run
from vitrail.train.trainer import Trainer


def finished_run(path: Path) -> RunFolder:
    run = RunFolder(path)
    train_run(tiny("schedule.epochs=1", "data.limit=130", "method={name: simmim}"), run.path)
    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return finished_run(tmp_path_factory.mktemp("finished") / "run")


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


def damaged_files(folder: Path, choose: random.Random, times: int) -> dict[str, int]:
    """Damages random files of a checkpoint, a model, a method and the best weights, one by one."""
    run, labelled = finished_run(folder / "run"), RunFolder(folder / "labelled")
    train_run(tiny("schedule.epochs=1", "data.limit=130"), labelled.path)
    (best,) = labelled.best_folder.iterdir()
    readers: list[tuple[Path, Callable[[], object]]] = [
        (run.checkpoints[-1], lambda: checkpoint._read(run.checkpoints[-1], False)),
        (run.model_folder, lambda: vitrail.load(run.path)),
        (run.method_folder, lambda: load_method(run.path)),
        (best, lambda: check_manifest(best)),
    ]
    counts = {"damages": 0, "typed": 0}
    for _time in range(times):
        place, read = choose.choice(readers)
        path = choose.choice(sorted(place.iterdir()))
        whole = path.read_bytes()
        damage(path, choose)
        counts["damages"] += 1
        with contextlib.suppress(DamagedError):
            read()
            counts["typed"] -= 1
        counts["typed"] += 1
        path.write_bytes(whole)
    return counts


def resume_from_damage(folder: Path, choose: random.Random, times: int) -> dict[str, int]:
    """Damages the newest checkpoint of a run, and resumes it."""
    whole, run, lines = RunFolder(folder / "whole"), RunFolder(folder / "run"), list[str]()

    class Listen(Callback):
        def tell(self, trainer: Trainer, line: str) -> None:
            lines.append(line)

    short = tiny("schedule.epochs=1", "data.limit=260", "train.save_every=2")
    train_run(short, whole.path)
    with pytest.raises(ZeroDivisionError):
        train_run(short, run.path, callbacks=[RaiseAt(5)])
    counts = {"damages": 0, "announced": 0}
    for number in range(times):
        again = RunFolder(folder / f"again{number}")
        shutil.copytree(run.path, again.path)
        damage(choose.choice(sorted(again.checkpoints[-1].iterdir())), choose)
        lines.clear()
        train_run(short, again.path, resume=True, callbacks=[Listen()])
        counts["damages"] += 1
        announced = sum("Going on from" in line for line in lines)
        counts["announced"] += announced == 1 and again.metrics == whole.metrics
        shutil.rmtree(again.path)
    return counts


def test_random_damage_is_a_typed_error(tmp_path: Path) -> None:
    assert damaged_files(tmp_path, random.Random(0), 12) == {"damages": 12, "typed": 12}


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


def test_damaged_best_weights_are_announced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "run")

    class SpoilBest(Callback):  # called after the best weights are written, before they are read
        def after_step(self, trainer: Trainer, values: Values) -> None:
            if trainer.step == trainer.total:
                (best,) = run.best_folder.iterdir()
                damage(best / "method.safetensors", random.Random(0))

    train_run(tiny("schedule.epochs=1", "data.limit=130"), run.path, callbacks=[SpoilBest()])
    lines = [line for line in capsys.readouterr().err.splitlines() if "is damaged" in line]
    assert len(lines) == 1
    assert lines[0].endswith("The weights of the last step are evaluated and saved instead.")
    assert "last step" in run.evaluation["weights"]


def test_trust_is_an_option_of_every_command_that_loads(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(finished.model_folder, model)
    (model / "config.json").write_text((model / "config.json").read_text() + "\n")
    picture = str(photographs(tmp_path / "pets", 1) / "cat" / "0.jpg")
    commands = [
        ["info", str(model)], ["convert", str(model), str(tmp_path / "new")],
        ["look", picture, "--model", str(model), "--out", str(tmp_path / "look.html")],
        ["features", picture, "--model", str(model), "--out", str(tmp_path / "f.npy")],
        ["eval", str(model), "--data", "digits", "--limit", "20", "--probe", "knn"],
        ["export", str(model), str(tmp_path / "m.pt2")],
    ]  # fmt: skip
    for command in commands:
        for trust in (False, True):
            arguments = ["vitrail", *command, *(["--trust"] if trust else [])]
            with patch("sys.argv", arguments), pytest.raises(SystemExit) as ended:
                main()
            error = capsys.readouterr().err
            assert ("give --trust" in error and ended.value.code == 2) != trust, (command, error)


def test_trust_is_a_keyword_of_every_function_that_loads(
    finished: RunFolder, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(finished.model_folder, model)
    (model / "config.json").write_text((model / "config.json").read_text() + "\n")
    functions: list[Callable[[bool], object]] = [
        lambda trust: vitrail.load(model, trust=trust),
        lambda trust: vitrail.features(model, "digits", limit=20, trust=trust),
        lambda trust: vitrail.evaluate(model, "digits", probe="knn", limit=20, trust=trust),
        lambda trust: convert(model, tmp_path / "new", trust=trust),
    ]
    for function in functions:
        with pytest.raises(DamagedError, match="give trust=True"):
            function(False)
        function(True)
