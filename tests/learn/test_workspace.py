"""A learner's folder: nothing of the learner's is lost, whatever happens."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitrail.errors import ConfigError
from vitrail.learn import Workspace, find_lesson
from vitrail.learn.checker.verdict import Report
from vitrail.learn.workspace import class_progress

KILLS = int(os.environ.get("KILLS", "10"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A new folder of lessons."""
    workspace = Workspace(tmp_path / "learning")
    workspace.init("en")
    return workspace


def test_a_second_init_changes_nothing_and_adds_what_is_missing(workspace: Workspace) -> None:
    mlp, attention = (workspace.path_of(find_lesson(name)) for name in ("mlp", "attention"))
    mlp.write_text("mine", "utf-8")
    attention.unlink()
    assert workspace.init("zh") == [attention]
    assert mlp.read_text("utf-8") == "mine"
    assert workspace.records()["language"] == "en"


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("", "utf-8")
    with pytest.raises(ConfigError, match="holds other files"):
        Workspace(tmp_path).init("en")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_reset_keeps_every_version(workspace: Workspace) -> None:
    lesson = find_lesson("mlp")
    for text in ("first", "second"):
        workspace.path_of(lesson).write_text(text, "utf-8")
        copy = workspace.reset(lesson, "en")
        assert copy is not None
        assert copy.read_text("utf-8") == text
    assert "raise NotImplementedError" in workspace.path_of(lesson).read_text("utf-8")


def test_progress_counts_tries_and_mistakes(workspace: Workspace) -> None:
    lesson = find_lesson("mlp")
    workspace.note(Report(lesson.id, False, stage="output", mistakes=("relu",)), lesson)
    workspace.note(Report(lesson.id, True), lesson)
    record = workspace.records()["lessons"][lesson.id]
    assert (record["tries"], record["mistakes"], "stage" in record) == (2, {"relu": 1}, False)
    assert "passed, try 2; hard: relu" in (workspace.folder / "journal.md").read_text("utf-8")
    head, row = class_progress([workspace.folder])
    assert row[head.index(lesson.id)] == record["passed"][:10]
    assert row[1] == "1"


def test_damaged_progress_is_one_line(workspace: Workspace) -> None:
    (workspace.folder / "progress.json").write_text('{"format": 1}', "utf-8")
    with pytest.raises(ConfigError, match=r"progress\.json"):
        workspace.records()


@pytest.mark.slow
def test_progress_is_readable_after_kills(workspace: Workspace) -> None:
    lesson = find_lesson("patch_embed")
    workspace.path_of(lesson).write_text(lesson.answer("en"), "utf-8")
    command = [sys.executable, "-m", "vitrail", "learn", "check", "patch_embed"]
    start = time.monotonic()
    subprocess.run(command, cwd=workspace.folder, stdout=subprocess.DEVNULL, check=True)
    whole = time.monotonic() - start
    draw, tries = random.Random(0), []
    for _ in range(KILLS):
        limit, start = draw.uniform(0.5, 1.2) * whole, time.monotonic()
        process = subprocess.Popen(command, cwd=workspace.folder, stdout=subprocess.DEVNULL)
        while process.poll() is None and time.monotonic() - start < limit:
            time.sleep(0.01)
        process.kill()
        process.wait()
        tries.append(workspace.records()["lessons"][lesson.id]["tries"])
    assert 1 <= tries[-1] <= KILLS + 1
    assert tries == sorted(tries)


def test_lessons_of_a_teacher_join_the_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(find_lesson("mlp").folder, tmp_path / "ours" / "mlp_again")
    (tmp_path / "stages.toml").write_text(
        '[[stages]]\nname = "ours"\ntitle = {en = "Ours", zh = "自编"}\n', "utf-8"
    )
    monkeypatch.setenv("VITRAIL_LESSONS", str(tmp_path))
    command = [sys.executable, "-m", "vitrail", "learn", "list", "--json"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [row["lesson"] for row in json.loads(output)][-1] == "ours/mlp_again"
