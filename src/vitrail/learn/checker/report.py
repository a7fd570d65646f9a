"""Checks a file in this process and says what is wrong, with a diagnosis."""

import contextlib
from pathlib import Path

from vitrail.learn.checker import compare
from vitrail.learn.checker.causes import find_causes
from vitrail.learn.checker.diagnosis import Diagnoser
from vitrail.learn.checker.expected import run_call
from vitrail.learn.checker.failure import Failure
from vitrail.learn.checker.modules import solutions_importable
from vitrail.learn.checker.relations import relation
from vitrail.learn.checker.source import Change
from vitrail.learn.checker.stages import Checker
from vitrail.learn.checker.subject import LoadingError
from vitrail.learn.checker.verdict import Report, Row
from vitrail.learn.checker.walk import walk
from vitrail.learn.lesson import Wrong
from vitrail.messages import _, language

MOST_ROWS = 14
MOST_SECONDS = 1.5  # of processor time for comparisons with wrong versions; a check takes three


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
    rows = _walk(checker, failure, text, path, folder)
    mistakes: tuple[Wrong, ...] = ()
    diagnosis: tuple[str, ...] = ()
    if failure.observed != "stub":
        with solutions_importable(checker.finder):  # once for hundreds of versions
            mistakes, diagnosis = _compare(checker, failure)
        if not diagnosis:
            diagnosis = _examine(checker, failure, rows, text, path, folder)
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


def _compare(checker: Checker, failure: Failure) -> tuple[tuple[Wrong, ...], tuple[str, ...]]:
    """Mistakes that fail in the same way, and sentences, the surest explanation first."""
    diagnoser = Diagnoser(checker, MOST_SECONDS)
    mistakes = diagnoser.single(failure)
    change = None if mistakes else diagnoser.change(failure)
    if change is not None:
        return (), (_of_change(change),)
    mistakes = mistakes or diagnoser.pair(failure)
    return mistakes, tuple(wrong.says.of(language()) for wrong in mistakes)


def _examine(
    checker: Checker,
    failure: Failure,
    rows: tuple[Row, ...],
    text: str,
    path: str,
    folder: Path | None,
) -> tuple[str, ...]:
    """What is found in the learner's numbers alone."""
    where = rows[-1].relation if rows else ""
    expected = checker.expected[failure.number] if failure.number >= 0 else None
    inputs = () if expected is None else expected.inputs
    whole = ""
    if failure.target is not None and failure.stage in ("output", "swap"):
        whole = relation(failure.observed, failure.target, inputs)
    diagnosis = tuple(filter(None, dict.fromkeys([where, whole])))
    if not diagnosis and failure.number >= 0 and str(failure.observed).startswith("['raises'"):
        diagnosis = _of_sizes(checker, failure, text, path, folder)
    if not diagnosis and failure.stage == "output" and expected is not None:
        with contextlib.suppress(Exception):  # the learner's code, with other arguments
            subject = checker.load(text, path, folder)
            diagnosis = find_causes(subject, checker.solution, expected, failure.observed)
    return diagnosis


def _of_sizes(
    checker: Checker, failure: Failure, text: str, path: str, folder: Path | None
) -> tuple[str, ...]:
    """The other calls that do not raise: their sizes may stand in the code."""
    subject = checker.load(text, path, folder)
    for number, expected in enumerate(checker.expected):
        if number != failure.number:
            with contextlib.suppress(Exception):
                call = subject.build(expected.case)
                output = run_call(call, expected.inputs, expected.seed, gradients=False).output
                if compare.same_shape(output, expected.result.output):
                    words = _("the call with {case} runs: does the code hold one of its sizes?")
                    return (words.format(case=expected.case.about),)
    return ()


def _of_change(change: Change) -> str:
    if change.exchange:
        text = _("your result is that of the solution in which `{old}` and `{new}` changed places.")
    else:
        text = _("your result is that of the solution with `{new}` in the place of `{old}`.")
    return text.format(old=change.old, new=change.new)


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
