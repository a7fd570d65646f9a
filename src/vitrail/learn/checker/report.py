"""Checks a file in this process and says what is wrong, with a diagnosis."""

import contextlib
from pathlib import Path

from vitrail.learn.checker.causes import find_causes
from vitrail.learn.checker.diagnosis import Diagnoser
from vitrail.learn.checker.failure import Failure
from vitrail.learn.checker.stages import Checker
from vitrail.learn.checker.subject import LoadingError
from vitrail.learn.checker.verdict import Report, Row
from vitrail.learn.checker.walk import walk
from vitrail.messages import language

MOST_ROWS = 14


def make_report(checker: Checker, text: str, path: str, folder: Path | None = None) -> Report:
    """Checks a file in this process.

    Args:
        checker: the lesson's checker.
        text: the file's text.
        path: the file's path, for messages.
        folder: the learner's folder, whose earlier files it may import.

    Returns:
        The report, with a diagnosis where it failed.

    Example:
        >>> from vitrail.learn.course import find_lesson
        >>> lesson = find_lesson("attention")
        >>> make_report(Checker(lesson), lesson.solution, "mine.py").passed
        True
    """
    failure = checker.failure_of(text, path, folder)
    lesson = checker.lesson
    if failure is None:
        return Report(lesson.id, True)
    mistakes = Diagnoser(checker).mistakes(failure) if failure.observed != "stub" else ()
    diagnosis = tuple(wrong.says.of(language()) for wrong in mistakes)
    rows = _walk(checker, failure, text, path, folder)
    if not diagnosis:
        where = rows[-1].relation if rows else ""
        diagnosis = tuple(filter(None, dict.fromkeys([where, failure.relation])))
    if not diagnosis and failure.stage == "output":
        with contextlib.suppress(Exception):  # the learner's code, with other arguments
            subject = checker.load(text, path, folder)
            expected = checker.expected[failure.number]
            diagnosis = find_causes(subject, checker.solution, expected, failure.observed)
    return Report(
        lesson.id,
        False,
        stage=failure.stage,
        message=failure.message,
        case=failure.case,
        mistakes=tuple(wrong.name for wrong in mistakes),
        diagnosis=diagnosis,
        walk=rows,
    )


def _walk(
    checker: Checker, failure: Failure, text: str, path: str, folder: Path | None
) -> tuple[Row, ...]:
    """Where values can be followed: outputs, shapes and gradients of one call."""
    if (
        failure.number < 0
        or failure.stage not in ("shapes", "output")
        or failure.observed == "stub"
    ):
        return ()
    try:
        subject = checker.load(text, path, folder)
        rows = walk(subject, checker.solution, checker.expected[failure.number])
    except (LoadingError, Exception):
        return ()
    return tuple(rows[-MOST_ROWS:])
