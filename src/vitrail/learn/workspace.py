"""A learner's folder: a file per lesson to write in, progress and a journal.

WORKSPACE/
  STAGE/NAME.py, NAME.md, NAME.svg    what to write, the lesson's text, its diagram
  progress.json                       what was passed, by lesson
  journal.md                          dates, and what was hard
  map.svg                             the whole flow on one page, to print
"""

import contextlib
import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitrail.errors import ConfigError
from vitrail.files import atomic_write, make_folder, to_json
from vitrail.foreign import Schema, check_schema, read_json
from vitrail.learn.checker.verdict import Report
from vitrail.learn.course import all_lessons, all_stages
from vitrail.learn.flow_map import TITLE as MAP_TITLE
from vitrail.learn.flow_map import flow_map
from vitrail.learn.lesson import Lesson, Text

PROGRESS, JOURNAL, LOCK = "progress.json", "journal.md", ".vitrail-lock"
LESSON_RECORD: Schema = {
    "tries": int, "hints": int, "passed?": str, "quiz?": str, "stage?": str,
    "mistakes?": {"*": int},
}  # fmt: skip
RECORDS: Schema = {"format": int, "language": str, "lessons": {"*": LESSON_RECORD}}
FORMAT = 1

JOURNAL_HEAD = Text(
    "# Learning journal\n\nWhat was passed and when, and what was hard. Write here as you like; "
    '`vitrail learn journal "..."` adds a line.\n',
    "# 学习记录\n\n记下日期、通过的课和卡住的地方。可以随意改写；"
    '`vitrail learn journal "……"` 会追加一行。\n',
)
READING = Text(
    "# Vision transformers by hand\n\nThe lessons in order. For each there are a text (.md), a "
    "diagram (.svg) and the file that you write (.py).\n\n"
    "    vitrail learn next      what comes next\n"
    "    vitrail learn check     check it\n"
    "    vitrail learn hint      a hint; again for more\n",
    "# 手写视觉 Transformer\n\n按顺序排列的课程。"
    "每课有讲解（.md）、示意图（.svg）和要你写的文件（.py）。\n\n"
    "    vitrail learn next      下一课是什么\n"
    "    vitrail learn check     检查\n"
    "    vitrail learn hint      提示；再运行一次，提示更多\n",
)


class Workspace:
    """A learner's folder.

    Args:
        folder: its path; it need not exist.

    Example:
        >>> Workspace("learning").exists
        False
    """

    def __init__(self, folder: str | Path = ".") -> None:
        self.folder = Path(folder)

    @property
    def exists(self) -> bool:
        """Whether the folder is a workspace."""
        return (self.folder / PROGRESS).is_file()

    def check_exists(self) -> None:
        """Checks that the folder is a workspace.

        Raises:
            ConfigError: it is none.
        """
        if not self.exists:
            raise ConfigError(
                f"{self.folder.resolve()} is no learner's folder: `vitrail learn init` makes one, "
                "and folder=PATH names another."
            )

    def path_of(self, lesson: Lesson, suffix: str = ".py") -> Path:
        """The learner's file of a lesson.

        Args:
            lesson: the lesson.
            suffix: ".py", ".md" or ".svg".

        Returns:
            The path.
        """
        return self.folder / lesson.stage / f"{lesson.name}{suffix}"

    def init(self, language: str) -> list[Path]:
        """Writes what is missing; no file that exists is changed.

        Args:
            language: "en" or "zh".

        Returns:
            The learner's files that were written.

        Raises:
            ConfigError: the folder holds other things and is no workspace.
        """
        if self.folder.is_dir() and not self.exists and any(self.folder.iterdir()):
            raise ConfigError(
                f"{self.folder.resolve()} holds other files: choose a new folder for lessons."
            )
        make_folder(self.folder)
        if not self.exists:
            self._write_records({"format": FORMAT, "language": language, "lessons": {}})
        for name, text in (
            (JOURNAL, JOURNAL_HEAD.of(language)),
            ("README.md", _reading(language)),
            ("map.svg", flow_map(language)),
        ):
            _write_new(self.folder / name, text)
        new = []
        for lesson in all_lessons():
            _write_new(self.path_of(lesson, ".md"), lesson.text(language))
            _write_new(self.path_of(lesson, ".svg"), lesson.diagram(language))
            if _write_new(self.path_of(lesson), lesson.stub(language)):
                new.append(self.path_of(lesson))
        return new

    def reset(self, lesson: Lesson, language: str) -> Path | None:
        """Writes a lesson's file anew; what the learner wrote is kept under another name.

        Args:
            lesson: the lesson.
            language: "en" or "zh".

        Returns:
            The copy of the learner's file; None where there was none.
        """
        path, copy = self.path_of(lesson), None
        if path.is_file():
            numbers = range(1, 10_000)
            copy = next(
                p for n in numbers if not (p := path.with_name(f"{path.stem}.{n}.old.py")).exists()
            )
            os.rename(path, copy)
        _write_new(path, lesson.stub(language))
        return copy

    def records(self) -> dict[str, Any]:
        """What `progress.json` holds.

        Returns:
            "language", and "lessons" by id: tries, hints, date of passing, answers of the quiz.

        Raises:
            ConfigError: it cannot be read.
        """
        self.check_exists()
        path = self.folder / PROGRESS
        records: dict[str, Any] = read_json(path, ConfigError)
        check_schema(records, RECORDS, str(path), ConfigError)
        return records

    def _write_records(self, records: dict[str, Any]) -> None:
        atomic_write(self.folder / PROGRESS, to_json(records, indent=1) + "\n")

    @contextlib.contextmanager
    def changing(self, lesson: Lesson) -> Iterator[dict[str, Any]]:
        """A context that gives a lesson's record to change; another process waits meanwhile.

        Args:
            lesson: the lesson.

        Returns:
            A context manager that gives the record.
        """
        with _locked(self.folder / LOCK):
            records = self.records()
            record = records["lessons"].setdefault(lesson.id, {"tries": 0, "hints": 0})
            yield record
            self._write_records(records)

    def note(self, report: Report, lesson: Lesson) -> None:
        """Keeps the result of a check, and writes a first pass into the journal.

        Args:
            report: the result.
            lesson: its lesson.
        """
        with self.changing(lesson) as record:
            record["tries"] += 1
            mistakes = record.setdefault("mistakes", {})
            for name in report.mistakes:
                mistakes[name] = mistakes.get(name, 0) + 1
            if not report.passed:
                record["stage"] = report.stage
                return
            record.pop("stage", None)
            if "passed" in record:
                return
            record["passed"] = _now()
        language = self.records()["language"]
        text = Text("passed, try {n}", "通过，第 {n} 次").of(language).format(n=record["tries"])
        if mistakes:
            hard = ", ".join(mistakes)
            text += Text("; hard: {names}", "；卡在：{names}").of(language).format(names=hard)
        self.journal(f"{lesson.id} {lesson.title.of(language)}: {text}")

    def journal(self, text: str) -> Path:
        """Adds a line to the journal, under today's date.

        Args:
            text: the remark.

        Returns:
            The journal's path.

        Raises:
            ConfigError: the remark is empty.
        """
        if not text.strip():
            raise ConfigError("the remark is empty: write it in quotes.")
        path = self.folder / JOURNAL
        with _locked(self.folder / LOCK):
            content = path.read_text("utf-8") if path.is_file() else ""
            heading = f"## {_now()[:10]}"
            if heading not in content.splitlines():
                content = f"{content.rstrip()}\n\n{heading}\n\n".lstrip()
            atomic_write(path, f"{content.rstrip()}\n- {' '.join(text.split())}\n")
        return path

    def next_lesson(self) -> Lesson | None:
        """The first lesson that was not passed; None at the end of the course."""
        records = self.records()["lessons"]
        lessons = (x for x in all_lessons() if "passed" not in records.get(x.id, {}))
        return next(lessons, None)


def _reading(language: str) -> str:
    """The text of the workspace's README: all lessons by stage."""
    lines = [READING.of(language), f"![{MAP_TITLE.of(language)}](map.svg)\n"]
    for stage in all_stages():
        lessons = [lesson for lesson in all_lessons() if lesson.stage == stage.name]
        if lessons:
            lines.append(f"## {stage.title.of(language)}\n")
            lines += [
                f"- [{lesson.title.of(language)}]({lesson.id}.md), {lesson.minutes} min"
                for lesson in lessons
            ]
            lines.append("")
    return "\n".join(lines)


def _write_new(path: Path, text: str) -> bool:
    if path.exists():
        return False
    atomic_write(path, text)
    return True


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock of a process that was killed is free."""
    try:
        import fcntl
    except ImportError:  # Windows: files are still replaced as a whole
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def class_progress(folders: list[Path]) -> list[list[str]]:
    """The progress of a class: a row per learner, a column per lesson.

    Args:
        folders: workspaces.

    Returns:
        Rows of cells, the first with headings; a cell holds the date of passing, the number of
        tries where it was not passed, or nothing.

    Example:
        >>> class_progress([])[0][0]
        'folder'
    """
    lessons = all_lessons()
    rows = [["folder", "passed", *(lesson.id for lesson in lessons)]]
    for folder in folders:
        records = Workspace(folder).records()["lessons"]
        cells = []
        for lesson in lessons:
            record = records.get(lesson.id, {})
            tries = str(record["tries"]) if record.get("tries") else ""
            cells.append(record.get("passed", tries)[:10])
        done = sum("passed" in record for record in records.values())
        rows.append([folder.name or str(folder.resolve().name), str(done), *cells])
    return rows
