"""`vitrail learn`: the lessons, and the checker of what a learner writes."""

import contextlib
import csv
import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitrail.cli.common import out
from vitrail.cli.help_pages import HelpfulCommand, HelpfulGroup
from vitrail.errors import ConfigError
from vitrail.messages import _, labelled, language, ngettext, use_language

if TYPE_CHECKING:
    from vitrail.learn import Lesson, Workspace
    from vitrail.learn.checker.verdict import Report
    from vitrail.learn.lesson import Question

HELP = _("Learn vision transformers by writing them. Lessons, and a checker of what you write.")
EXAMPLES = ("vitrail learn init learning", "vitrail learn check attention", "vitrail learn next")
FAILED = 1  # exit code of work that does not pass
PAUSE = 0.5  # seconds between two looks at a file

FolderOption = Annotated[
    Path, typer.Option("--folder", "-C", help=_("Your folder of lessons. Default: this one."))
]
LanguageOption = Annotated[
    str | None,
    typer.Option("--lang", help=_("zh or en. Default: that of your folder, or of the locale.")),
]
JsonOption = Annotated[bool, typer.Option("--json", help=_("Print JSON."))]
LessonArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="LESSON", help=_("A lesson, or your file of it. Default: the next one.")
    ),
]


def make_group() -> typer.Typer:
    """The commands of `vitrail learn`.

    Returns:
        An application.

    Example:
        >>> len(make_group().registered_commands)
        12
    """
    group = typer.Typer(cls=HelpfulGroup, no_args_is_help=True, rich_markup_mode=None)
    commands: dict[str, tuple[Callable[..., None], str]] = {
        "init": (init, _("Make a folder of lessons. What is there already stays.")),
        "list": (list_lessons, _("List all lessons.")),
        "next": (show_next, _("Show the next lesson.")),
        "check": (check_work, _("Check what you wrote. Exit code 1 where it does not pass.")),
        "watch": (watch, _("Check a file whenever you save it.")),
        "hint": (hint, _("Show a hint. Each call shows more, up to three.")),
        "quiz": (quiz, _("Answer the questions of a lesson.")),
        "solution": (solution, _("Show the solution of a lesson.")),
        "progress": (progress, _("Show what is passed. For one learner, or a class as CSV.")),
        "journal": (journal, _("Add a remark to your journal, or show it.")),
        "reset": (reset, _("Begin a lesson anew. Your file is kept under another name.")),
        "doctor": (doctor, _("Test whether lessons can be checked here.")),
    }
    for name, (function, text) in commands.items():
        group.command(name, cls=HelpfulCommand, help=text)(function)
    return group


def _open(folder: Path, name: str | None = None) -> "Workspace":
    """The workspace, in whose language messages are from here on."""
    from vitrail.learn import Workspace
    from vitrail.learn.course import check_language

    workspace = Workspace(folder)
    if name is not None:
        check_language(name)
        use_language(name)
    elif workspace.exists:
        use_language(workspace.records()["language"])
    return workspace


def _lesson(workspace: "Workspace", name: str | None) -> "Lesson":
    from vitrail.learn import find_lesson

    if name is not None:
        path = Path(name)
        if path.suffix == ".py":
            name = "/".join(path.resolve().with_suffix("").parts[-2:])
        return find_lesson(name)
    lesson = workspace.next_lesson()
    if lesson is None:
        raise ConfigError("all lessons are passed: name one, as `vitrail learn list` lists them.")
    return lesson


def _say(value: Any, lines: Sequence[str], as_json: bool) -> None:
    """Prints JSON, or lines."""
    if as_json:
        out.print_json(json.dumps(value, ensure_ascii=False))
    elif lines:
        out.print("\n".join(lines), highlight=False)


def init(
    folder: Annotated[Path, typer.Argument(help=_("The folder to make."))] = Path("learning"),
    lang: LanguageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Makes a workspace."""
    workspace = _open(folder, lang)
    paths = workspace.init(language())
    first = workspace.next_lesson()
    text = ngettext("{n} lesson written to {folder}", "{n} lessons written to {folder}", len(paths))
    lines = [text.format(n=len(paths), folder=folder)]
    if first is not None:
        path = workspace.path_of(first, ".md")
        lines.append(_("begin with {path}").format(path=path))
    _say({"folder": str(folder), "written": [str(path) for path in paths]}, lines, as_json)


def list_lessons(
    folder: FolderOption = Path(), lang: LanguageOption = None, as_json: JsonOption = False
) -> None:
    """Lists lessons by stage."""
    from vitrail.learn import all_lessons
    from vitrail.learn.course import all_stages

    workspace = _open(folder, lang)
    records = workspace.records()["lessons"] if workspace.exists else {}
    rows, lines = [], []
    for stage in all_stages():
        lessons = [lesson for lesson in all_lessons() if lesson.stage == stage.name]
        if lessons:
            lines.append(stage.title.of(language()))
        for lesson in lessons:
            passed = records.get(lesson.id, {}).get("passed")
            title = lesson.title.of(language())
            rows.append({
                "lesson": lesson.id, "title": title, "minutes": lesson.minutes, "passed": passed,
                "paper": dict(lesson.paper), "file": lesson.file, "needs": list(lesson.needs),
            })  # fmt: skip
            mark = "x" if passed else " "
            text = _("  [{mark}] {lesson}  {title} ({minutes} min)")
            lines.append(
                text.format(mark=mark, lesson=lesson.id, title=title, minutes=lesson.minutes)
            )
    _say(rows, lines, as_json)


def show_next(
    folder: FolderOption = Path(), lang: LanguageOption = None, as_json: JsonOption = False
) -> None:
    """Shows the next lesson's text, and where to write."""
    workspace = _open(folder, lang)
    workspace.check_exists()
    lesson = workspace.next_lesson()
    if lesson is None:
        _say({"lesson": None}, [_("All lessons are passed.")], as_json)
        return
    text, path = lesson.text(language()), workspace.path_of(lesson)
    source = _("Paper: {title}, {section}, {url}").format(**lesson.paper)
    ours = _("In Vitrail: {file}").format(file=f"vitrail/{lesson.file}")
    write = _("Write in {path}, then: vitrail learn check {lesson}")
    lines = [text, source, ours, write.format(path=path, lesson=lesson.name)]
    value = {"lesson": lesson.id, "path": str(path), "minutes": lesson.minutes, "text": text}
    _say(value, lines, as_json)


def check_work(
    lesson: LessonArgument = None,
    folder: FolderOption = Path(),
    lang: LanguageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Checks a learner's file."""
    report = _check(_open(folder, lang), lesson, as_json)
    if not report.passed:
        raise typer.Exit(FAILED)


def _check(workspace: "Workspace", name: str | None, as_json: bool) -> "Report":
    from vitrail.learn import check_file

    workspace.check_exists()
    lesson = _lesson(workspace, name)
    report = check_file(lesson, workspace.path_of(lesson))
    workspace.note(report, lesson)
    lines = report.lines()
    if report.output.strip():
        lines = [_("Printed by your code:"), report.output.rstrip(), "", *lines]
    if report.passed:
        following = workspace.next_lesson()
        if following is not None:
            lines.append(_("Next: {lesson}").format(lesson=following.id))
    else:
        lines.append(_("A hint: vitrail learn hint {lesson}").format(lesson=lesson.name))
    _say(report.to_dict(), lines, as_json)
    return report


def watch(
    lesson: LessonArgument = None,
    folder: FolderOption = Path(),
    lang: LanguageOption = None,
) -> None:
    """Checks a file whenever it changes, until it passes."""
    workspace = _open(folder, lang)
    workspace.check_exists()
    path = workspace.path_of(_lesson(workspace, lesson))
    name = "/".join(path.with_suffix("").parts[-2:])
    out.print(_("watching {path}; Ctrl-C ends").format(path=path), highlight=False)
    former = None
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            current = path.stat().st_mtime_ns if path.is_file() else None
            if current is not None and current != former:
                former = current
                if _check(workspace, name, as_json=False).passed:
                    return
            time.sleep(PAUSE)


def hint(
    lesson: LessonArgument = None,
    level: Annotated[
        int | None, typer.Option(min=1, max=3, help=_("1, 2 or 3. Default: one more than before."))
    ] = None,
    folder: FolderOption = Path(),
    lang: LanguageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows a hint."""
    workspace = _open(folder, lang)
    workspace.check_exists()
    subject = _lesson(workspace, lesson)
    hints = subject.hints
    with workspace.changing(subject) as record:
        number = min(record["hints"] + 1, len(hints)) if level is None else level
        record["hints"] = max(record["hints"], number)
    text = hints[number - 1].of(language())
    head = _("{lesson}, hint {n} of {count}:")
    head = head.format(lesson=subject.id, n=number, count=len(hints))
    _say({"lesson": subject.id, "level": number, "hint": text}, [head, text], as_json)


def quiz(
    lesson: LessonArgument = None,
    answers: Annotated[
        str | None, typer.Option(help=_("Letters, such as a,c,b, instead of typing them."))
    ] = None,
    folder: FolderOption = Path(),
    lang: LanguageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Asks the questions of a lesson."""
    from vitrail.learn.quiz import explain_answer, grade, parse_answers, show

    workspace = _open(folder, lang)
    workspace.check_exists()
    subject = _lesson(workspace, lesson)
    if answers is None and as_json:
        results = [grade(question, "") for question in subject.quiz]
        _say({"lesson": subject.id, "questions": results}, [], as_json)
        return
    letters = parse_answers(answers, subject) if answers is not None else None
    results = []
    for number, question in enumerate(subject.quiz):
        if not as_json:
            _say(None, show(number, question), as_json)
        letter = letters[number] if letters is not None else _ask(question)
        results.append(grade(question, letter))
        if not as_json:
            _say(None, explain_answer(results[-1]), as_json)
    right = sum(result["right"] for result in results)
    with workspace.changing(subject) as record:
        record["quiz"] = f"{right}/{len(results)}"
    text = _("{right} of {count} right").format(right=right, count=len(results))
    _say({"lesson": subject.id, "right": right, "questions": results}, [text], as_json)
    if right < len(results):
        raise typer.Exit(FAILED)


def _ask(question: "Question") -> str:
    """A letter that the learner types."""
    from vitrail.learn.quiz import letters_of

    while True:
        out.print("> ", end="")
        line = sys.stdin.readline()
        if not line:
            raise ConfigError("the quiz ended before its last answer: answers=a,b,... gives all.")
        if line.strip().lower() in letters_of(question):
            return line.strip().lower()


def solution(
    lesson: LessonArgument = None,
    folder: FolderOption = Path(),
    lang: LanguageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prints the solution."""
    workspace = _open(folder, lang)
    subject = _lesson(workspace, lesson)
    text = subject.answer(language())
    _say({"lesson": subject.id, "solution": text}, [text.rstrip()], as_json)


def progress(
    folders: Annotated[
        list[Path] | None, typer.Argument(help=_("Folders of learners. Default: this one."))
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help=_("A row per learner, as CSV."))] = False,
    lang: LanguageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows progress."""
    from vitrail.learn import all_lessons
    from vitrail.learn.workspace import class_progress

    paths = folders or [Path()]
    workspace = _open(paths[0], lang)
    if as_csv:
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows(class_progress(paths))
        sys.stdout.write(table.getvalue())
        return
    records = workspace.records()["lessons"]
    rows, lines = [], []
    for lesson in all_lessons():
        record = records.get(lesson.id, {})
        rows.append({"lesson": lesson.id, **record})
        if record:
            text = _("{lesson}  {date}  tries {tries}, hints {hints}, quiz {quiz}")
            date = record.get("passed", "")[:10] or _("not passed")
            facts = {"lesson": lesson.id, "date": date, "quiz": "-", **record}
            lines.append(text.format(**facts))
    done = sum("passed" in row for row in rows)
    lines.append(_("{n} of {count} lessons passed").format(n=done, count=len(rows)))
    _say(rows, lines, as_json)


def journal(
    text: Annotated[str | None, typer.Argument(help=_("The remark. Default: show it all."))] = None,
    folder: FolderOption = Path(),
    lang: LanguageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Adds to the journal, or shows it."""
    from vitrail.learn.workspace import JOURNAL

    workspace = _open(folder, lang)
    workspace.check_exists()
    if text is not None:
        workspace.journal(text)
    path = workspace.folder / JOURNAL
    content = path.read_text("utf-8") if path.is_file() else ""
    lines = [content.rstrip()] if text is None else [_("written: {path}").format(path=path)]
    _say({"path": str(path), "journal": content}, lines, as_json)


def reset(
    lesson: Annotated[str, typer.Argument(metavar="LESSON", help=_("The lesson."))],
    folder: FolderOption = Path(),
    lang: LanguageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Writes a lesson's file anew."""
    workspace = _open(folder, lang)
    workspace.check_exists()
    subject = _lesson(workspace, lesson)
    copy = workspace.reset(subject, language())
    path = workspace.path_of(subject)
    lines = [_("written: {path}").format(path=path)]
    if copy is not None:
        lines.append(_("yours is kept as {path}").format(path=copy))
    _say({"path": str(path), "copy": copy and str(copy)}, lines, as_json)


def doctor(
    folder: FolderOption = Path(), lang: LanguageOption = None, as_json: JsonOption = False
) -> None:
    """Tests whether lessons can be checked here."""
    from vitrail.learn.doctor import examine

    workspace = _open(folder, lang)
    findings = examine(workspace)
    rows = [vars(finding) for finding in findings]
    lines = [f"{'+' if f.good else '-'} {labelled(f.what, f.text)}" for f in findings]
    _say(rows, lines, as_json)
    if not all(f.good for f in findings):
        raise typer.Exit(FAILED)
