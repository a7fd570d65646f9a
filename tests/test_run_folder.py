"""A run's folder: what is written there, and what is left alone."""

from pathlib import Path

import pytest

from tests.train.test_methods import MAE
from tests.train.tiny import RaiseAt, tiny
from vitrail.errors import ConfigError
from vitrail.run_folder import RunFolder
from vitrail.train.factory import train_run
from vitrail.train.runs import default_folder


def put(path: Path, text: str = "mine") -> Path:
    """A file of the user."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_clearing_deletes_all_that_a_run_wrote_and_nothing_else(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    train_run(tiny("schedule.epochs=1", MAE, "data.augment={}"), run.path)
    run.write_bad_images([("a.jpg", "empty")])
    put(run.report_file)
    names = ("notes.txt", "model/net.py", "images/cat.png", "checkpoints/step-00000012/a.txt")
    mine = [put(run.path / name) for name in names]
    assert (run.model_folder / "model.safetensors").is_file()
    assert run.method_folder.is_dir()
    assert run.logged_images
    run.clear()
    assert sorted(file for file in run.path.rglob("*") if file.is_file()) == sorted(mine)
    for file in mine:
        file.unlink()


@pytest.mark.parametrize("name", ["model/net.py", "method/a.py", "images/a.png", ".git/HEAD"])
def test_a_folder_of_the_user_is_refused_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    file = put(tmp_path / "proj" / name)
    with pytest.raises(ConfigError, match="holds files that are no run's"):
        train_run(tiny(), tmp_path / "proj")
    assert [p for p in (tmp_path / "proj").rglob("*") if p.is_file()] == [file]


@pytest.mark.parametrize("content", ["lr: 0.1", "- a", "optim: {lr: x}"])
def test_a_file_that_happens_to_be_called_as_the_settings_is_no_run(
    tmp_path: Path, content: str
) -> None:
    mine = [put(tmp_path / "run.yaml", content), put(tmp_path / "images" / "cat-00000001.png")]
    with pytest.raises(ConfigError):
        train_run(tiny(), tmp_path)
    assert [file.read_text() for file in mine] == [content, "mine"]


def test_a_start_that_failed_is_begun_anew_with_other_settings(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    for resume in (False, True):
        with pytest.raises(ZeroDivisionError):
            train_run(tiny("train.log_every=1"), run.path, callbacks=[RaiseAt(3)])
        assert run.is_unborn
        mine = put(run.path / "notes.txt")
        train_run(tiny("schedule.epochs=1", "optim.lr=0.002"), run.path, resume=resume)
        assert not run.is_unborn
        assert run.settings["optim"]["lr"] == 0.002
        assert mine.read_text() == "mine"
        assert run.metrics[0]["step"] == 3
        assert len(run.timing) == 4
        mine.unlink()
        run.clear()


def test_the_default_folder_has_the_name_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pets" / "cats").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "pets" / "cats")
    names = {"folder:.": "cats", "folder:..": "pets", "folder:/": "root", "hub:a/b": "b"}
    assert {source: default_folder(source).name for source in names} == names
    assert {default_folder(source).parent for source in names} == {Path("runs")}
