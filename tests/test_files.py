"""Files and folders are whole or not there."""

import os
from pathlib import Path

import pytest

from vitrail.files import TEMPORARY, atomic_folder, atomic_write


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
        (new / "b").write_text("3")
    assert [p.name for p in path.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_crash_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as new:
        (new / "a").write_text("1")
    os.replace(path, tmp_path / "folder.old")  # the first rename was done, the second was not
    (tmp_path / f"folder{TEMPORARY}").mkdir()
    with pytest.raises(ZeroDivisionError), atomic_folder(path):
        1 / 0
    assert (path / "a").read_text() == "1"
