"""Files and folders are whole or not there."""

import os
from pathlib import Path

import pytest

from vitrail import files
from vitrail.errors import ConfigError
from vitrail.files import OLD, TEMPORARY, atomic_folder, atomic_write, make_folder


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    atomic_write(path, "old")
    with pytest.raises(TypeError):
        atomic_write(path, None)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as new:
        (new / "a").write_text("1")
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as new:
        (new / "a").write_text("2")
        1 / 0
    assert (path / "a").read_text() == "1"
    with atomic_folder(path) as new:
        (new / "a").write_text("3")
    assert (path / "a").read_text() == "3"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_user_put_into_a_folder_or_beside_it_outlives_its_replacement(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model"
    for name in ("model", "model.old", "model.writing"):
        (tmp_path / name / "mine").mkdir(parents=True)
        (tmp_path / name / "mine" / "net.py").write_text("my code")
    (path / "config.json").write_text("1")
    for content in ("2", "3"):
        with atomic_folder(path) as new:
            (new / "config.json").write_text(content)
    assert (path / "config.json").read_text() == "3"
    for name in ("model", "model.old", "model.writing"):
        assert (tmp_path / name / "mine" / "net.py").read_text() == "my code"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_crash_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as new:
        (new / "a").write_text("1")
    os.replace(path, tmp_path / f"folder{OLD}")  # the first rename was done, the second was not
    (tmp_path / f"folder{TEMPORARY}").mkdir()
    with pytest.raises(ZeroDivisionError), atomic_folder(path):
        1 / 0
    assert (path / "a").read_text() == "1"


def test_a_crash_after_the_renames_loses_nothing(tmp_path: Path) -> None:
    path, old = tmp_path / "folder", tmp_path / f"folder{OLD}"
    for folder, names in ((path, "a"), (old, "ab")):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(folder.name)
    with pytest.raises(ZeroDivisionError), atomic_folder(path):
        1 / 0
    assert ((path / "a").read_text(), (path / "b").read_text()) == ("folder", old.name)
    assert list(tmp_path.iterdir()) == [path]


def test_entries_of_new_folders_are_put_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync", synced.append)
    files.make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    files.make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_a_folder_is_on_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    rename = files.os.replace
    monkeypatch.setattr(files, "sync", lambda path: events.append(path.name))
    monkeypatch.setattr(
        files.os, "replace", lambda old, new: (events.append("rename"), rename(old, new))
    )
    with atomic_folder(tmp_path / "folder") as new:
        for name in ("a", "b"):
            (new / name).write_text("1")
        (new / "inner").mkdir()
        (new / "inner" / "c").write_text("1")
    first, last = events[:5], events[5:]
    assert sorted(first) == ["a", "b", "c", f"folder{TEMPORARY}", "inner"]
    assert last == ["rename", tmp_path.name]


def test_a_file_that_cannot_be_put_on_disk_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        if path.name == "b":
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(files, "sync", refuse)
    with pytest.raises(OSError, match="Input/output"), atomic_folder(tmp_path / "folder") as new:
        for name in ("a", "b", "c"):
            (new / name).write_text("1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "pipe", "link"])
def test_what_is_no_folder_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if kind == "file":
        path.write_text("mine")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "nowhere")
    for folder in (path, path / "inner"):
        with pytest.raises(ConfigError, match="x is no folder: choose another name"):
            make_folder(folder)
    if kind == "file":
        assert path.read_text() == "mine"
