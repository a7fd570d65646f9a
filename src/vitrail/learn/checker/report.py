"""Checks a file in this process and says what is wrong, with a diagnosis."""

import contextlib
import io
import time
from pathlib import Path

from vitrail.learn.checker import compare
from vitrail.learn.checker.causes import find_causes
from vitrail.learn.checker.diagnosis import Diagnoser
from vitrail.learn.checker.expected import run_call
from vitrail.learn.checker.failure import Failure
from vitrail.learn.checker.interventions import WrongVariable, find_wrong_variable
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
MOST_SECONDS = 1.6  # of processor time; with the start of PyTorch a check takes three
LEAST_SECONDS = 0.3  # for a diagnosis


def make_report(
    checker: Checker,
    text: str,
    path: str,
    folder: Path | None = None,
    seconds: float = MOST_SECONDS,
) -> Report:
    """Checks a file in this process.

    Args:
        checker: the lesson's checker.
        text: the file's text.
        path: the file's path, for messages.
        folder: the learner's folder, whose earlier files it may import.
        seconds: of processor time that the check and a diagnosis take.

    Returns:
        The report, with a diagnosis where it failed.

    Example:
        >>> from vitrail.learn.course import find_lesson
        >>> lesson = find_lesson("attention")
        >>> make_report(Checker(lesson), lesson.solution, "mine.py").passed
        True
    """
    start = time.process_time()
    failure = checker.failure_of(text, path, folder)
    lesson = checker.lesson
    if failure is None:
        return Report(lesson.id, True)
    with contextlib.redirect_stdout(io.StringIO()):  # it runs the learner's code again and again
        rows = _walk(checker, failure, text, path, folder)
        rest = max(LEAST_SECONDS, seconds - (time.process_time() - start))
        diagnoser = Diagnoser(checker, rest, text)
        mistakes, diagnosis = _diagnose(diagnoser, failure, rows, path, folder)
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


def _diagnose(
    diagnoser: Diagnoser,
    failure: Failure,
    rows: tuple[Row, ...],
    path: str,
    folder: Path | None,
) -> tuple[tuple[Wrong, ...], tuple[str, ...]]:
    """The wrong versions that fail in the same way, and sentences."""
    if failure.observed == "stub":
        return (), ()
    finder = diagnoser.checker.finder
    with solutions_importable(finder):  # once for hundreds of versions
        mistakes = diagnoser.single(failure)
    variable = None
    diagnosis: tuple[str, ...] = ()
    if not mistakes:
        variable = _variable(diagnoser, failure, path, folder)
        with solutions_importable(finder):
            mistakes, diagnosis = _compare(diagnoser, failure, variable)
    diagnosis = diagnosis or tuple(wrong.says.of(language()) for wrong in mistakes)
    return mistakes, diagnosis or _examine(diagnoser, failure, rows, path, folder, variable)


def _variable(
    diagnoser: Diagnoser, failure: Failure, path: str, folder: Path | None
) -> WrongVariable | None:
    """The wrong variable, by experiment."""
    checker = diagnoser.checker
    if failure.stage != "output" or failure.number < 0:
        return None
    with contextlib.suppress(Exception):  # the learner's code, with other values
        subject = checker.load(diagnoser.text, path, folder)
        expected = checker.expected[failure.number]
        return find_wrong_variable(
            subject, checker.solution, expected, lambda: diagnoser.is_late(0.25)
        )
    return None


def _compare(
    diagnoser: Diagnoser, failure: Failure, variable: WrongVariable | None
) -> tuple[tuple[Wrong, ...], tuple[str, ...]]:
    """What is found by changes and pairs of mistakes, the surest explanation first."""
    if change := diagnoser.repair(failure, variable.lines if variable else (0, 0)):
        exact = (variable.sentence,) if variable and variable.exact else ()
        return (), (*exact, _of_repair(change))
    if variable and variable.exact:
        return (), (variable.sentence,)
    if change := diagnoser.change(failure):
        return (), (_of_change(change),)
    return diagnoser.pair(failure), ()


def _examine(
    diagnoser: Diagnoser,
    failure: Failure,
    rows: tuple[Row, ...],
    path: str,
    folder: Path | None,
    variable: WrongVariable | None,
) -> tuple[str, ...]:
    """What is found in the learner's numbers alone."""
    checker, text = diagnoser.checker, diagnoser.text
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
        with contextlib.suppress(Exception):
            subject = checker.load(text, path, folder)
            diagnosis = find_causes(
                subject,
                checker.solution,
                expected,
                failure.observed,
                vague=variable is None,
                is_late=lambda: diagnoser.is_late(1.0),
            )
    return ((variable.sentence,) if variable else ()) + diagnosis


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
    text = {
        "exchange": _(
            "your result is that of the solution in which `{old}` and `{new}` changed places."
        ),
        "drop": _("your result is that of the solution without `{old}`."),
        "down": _("your result is that of the solution with `{old}` after `{new}`."),
        "up": _("your result is that of the solution with `{old}` before `{new}`."),
    }.get(
        change.kind, _("your result is that of the solution with `{new}` in the place of `{old}`.")
    )
    return text.format(old=change.old, new=change.new)


def _of_repair(change: Change) -> str:
    text = {
        "exchange": _("{line}: with `{old}` and `{new}` in each other's place this stage passes."),
        "drop": _("{line}: without `{old}` this stage passes."),
        "down": _("{line}: with `{old}` after `{new}` this stage passes."),
        "up": _("{line}: with `{old}` before `{new}` this stage passes."),
    }.get(change.kind, _("{line}: with `{new}` in the place of `{old}` this stage passes."))
    line = _("line {line}").format(line=change.line)
    return text.format(line=line, old=change.old, new=change.new)


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
