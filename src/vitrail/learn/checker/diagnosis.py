"""The mistake behind a failure: the wrong version, or pair of them, that fails in the same way."""

import contextlib
import functools
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from vitrail.errors import ConfigError
from vitrail.learn.checker import compare
from vitrail.learn.checker.changes import changes
from vitrail.learn.checker.expected import run_call
from vitrail.learn.checker.failure import Failure
from vitrail.learn.checker.source import Change
from vitrail.learn.checker.stages import Checker
from vitrail.learn.checker.subject import Subject
from vitrail.learn.checker.verdict import STAGES
from vitrail.learn.lesson import Wrong

TOLERANCES = 1e-8, 1e-5  # the second for those who compute in float32 besides
MOST_CHANGES = 800  # of a text that are tried
CLAIM_SEEDS = 8  # with which claims are measured again
CLAIM_SECONDS = 0.2
LINES_BELOW = 3  # the place of a mistake, where a statement goes on


@dataclass
class Diagnoser:
    """Compares failures with those of a lesson's wrong versions.

    Args:
        checker: the lesson's checker, with the weights and inputs of the failures.
        seconds: of processor time, after which it gives up: a solution may train a model. Changes
            of the learner's file have the first part of it, then changes of the solution, then
            pairs of wrong versions.
        text: the learner's file, of which other calls are compared, too; "" compares one call.
        failures: those of wrong versions that were tried already, by stage, call and names.
        start: processor time at which it began.

    Example:
        >>> from vitrail.learn.course import find_lesson
        >>> lesson = find_lesson("attention")
        >>> diagnoser = Diagnoser(Checker(lesson))
        >>> wrong = lesson.wrong[0]
        >>> failure = diagnoser.checker.failure_of(wrong.apply(lesson.solution))
        >>> diagnoser.mistakes(failure)[0] is wrong
        True
    """

    checker: Checker
    seconds: float = math.inf
    text: str = ""
    failures: dict[tuple[str, int, tuple[str, ...]], Failure | None] = field(default_factory=dict)
    start: float = field(default_factory=time.process_time)

    def mistakes(self, failure: Failure) -> tuple[Wrong, ...]:
        """The mistakes that explain a failure.

        Args:
            failure: of the learner's file.

        Returns:
            One wrong version, or two that together fail in the same way. Of those that the stub of
            a lesson begins with only the first, because the others are to be found. None where
            nothing matches.
        """
        return self.single(failure) or self.pair(failure)

    def single(self, failure: Failure) -> tuple[Wrong, ...]:
        """The wrong version that fails in the same way, exactly.

        Args:
            failure: of the learner's file.

        Returns:
            It, or nothing.
        """
        for wrong in self.checker.lesson.wrong:
            if same_failure(failure, self._failure_with((wrong,), failure)):
                text = wrong.apply(self.checker.lesson.solution)
                if failure.number >= 0 or self._same_elsewhere(failure, text):
                    return (wrong,)
        return ()

    def change(self, failure: Failure) -> Change | None:
        """The solution with one change, which no lesson foresees, that fails in the same way.

        Args:
            failure: of the learner's file.

        Returns:
            The first; None where none does.
        """
        if not _is_finite(failure.observed):
            return None  # NaN has too many causes

        def fits(change: Change) -> bool:
            other = self.checker.failure_like(failure, change.text, "change.py")
            return same_failure(failure, other) and self._same_elsewhere(failure, change.text)

        every = itertools.islice(changes(self.checker.lesson.solution), MOST_CHANGES)
        return self._first(every, 0.6, fits)

    def repair(self, failure: Failure, lines: tuple[int, int] = (0, 0)) -> Change | None:
        """The learner's file with one change, which gets past the stage where it failed.

        Args:
            failure: of the learner's file.
            lines: first and last line where changes are tried first.

        Returns:
            The first; None where none does.
        """
        stage = max(STAGES.index(failure.stage), STAGES.index("output"))

        def fits(change: Change) -> bool:
            if self.checker.failure_like(failure, change.text, "repair.py") is not None:
                return False
            other = self.checker.failure_of(change.text, "repair.py")
            return other is None or (STAGES.index(other.stage) > stage and other.stage != "swap")

        changeable = failure.stage != "import"
        every = [*itertools.islice(changes(self.text), MOST_CHANGES)] if changeable else []
        every.sort(key=lambda change: not lines[0] <= change.line <= lines[1] + LINES_BELOW)
        return self._first(every, 0.4, fits)

    def _first(
        self, every: Iterable[Change], share: float, fits: Callable[[Change], bool]
    ) -> Change | None:
        """The first change that fits; none where this share of the time is over."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some are odd code
            for change in every:
                if self.is_late(share):
                    break
                with contextlib.suppress(Exception):
                    if fits(change):
                        return change
        return None

    def is_late(self, share: float) -> bool:
        """Whether a share of the time is over.

        Args:
            share: from 0 to 1.

        Returns:
            Whether it is.
        """
        return time.process_time() - self.start > share * self.seconds

    def _same_elsewhere(self, failure: Failure, text: str) -> bool:
        """Whether another text does what the learner's does in other calls, or with other seeds."""
        if not self.text or failure.stage not in ("shapes", "output", "behaviour", "swap"):
            return True
        own, other = (self.checker.load(each, "elsewhere.py") for each in (self.text, text))
        if failure.number < 0:
            return self._same_claims(own, other)
        outputs, others = (self._outputs(subject) for subject in (own, other))
        if not compare.equal(outputs[failure.number], failure.observed):
            return True  # with the solutions of earlier lessons it is another: nothing to compare
        pairs = zip(outputs, others, strict=True)
        return all(compare.equal(a, b) for a, b in pairs if _is_finite(a))  # NaN has many causes

    def _outputs(self, subject: Subject) -> list[Any]:
        outputs: list[Any] = []
        for expected in self.checker.expected:
            outputs.append(None)
            with contextlib.suppress(Exception):
                call = subject.build(expected.case)
                call.load(expected.state)
                inputs, seed = expected.inputs, expected.seed
                outputs[-1] = run_call(call, inputs, seed, gradients=False).output
        return outputs

    def _same_claims(self, subject: Subject, other: Subject) -> bool:
        """Whether both give the same figures for all claims, so often as there is time for."""
        end = time.process_time() + CLAIM_SECONDS
        claims = self.checker.lesson.task.claims
        for seed, claim in itertools.product(range(CLAIM_SEEDS), claims):
            if time.process_time() > end:
                break
            figures = []
            for each in (subject, other):
                torch.manual_seed(seed)
                figures.append(claim.measure(each.object))
            if not compare.equal(figures[0], figures[1], claim.tolerance):
                return False
        return True

    def pair(self, failure: Failure) -> tuple[Wrong, ...]:
        """The wrong versions, one or two, that nearly or together fail in the same way.

        Args:
            failure: of the learner's file.

        Returns:
            These, or nothing.
        """
        lesson = self.checker.lesson
        first = [wrong for wrong in lesson.wrong if wrong.name in lesson.start]
        combinations = [
            combination
            for versions, counts in ((lesson.wrong, (1, 2)), (first, range(3, len(first) + 1)))
            for count in counts
            for combination in itertools.combinations(versions, count)
        ]
        for tolerance in TOLERANCES:
            for combination in combinations:
                if self.is_late(0.75):
                    return ()
                other = self._failure_with(combination, failure)
                if same_failure(failure, other, tolerance):
                    return (
                        combination[:1]
                        if all(wrong in first for wrong in combination)
                        else combination
                    )
        return ()

    def _failure_with(self, combination: tuple[Wrong, ...], like: Failure) -> Failure | None:
        names = tuple(wrong.name for wrong in combination)
        key = (like.stage, like.number, names)
        if key not in self.failures:
            self.failures[key] = None
            try:
                text = functools.reduce(
                    lambda text, wrong: wrong.apply(text), combination, self.checker.lesson.solution
                )
            except ConfigError:  # the second edits what the first has changed
                return None
            self.failures[key] = self.checker.failure_like(like, text, f"{'+'.join(names)}.py")
        return self.failures[key]


def _is_finite(output: Any) -> bool:
    return all(compare.is_finite(leaf) for _path, leaf in compare.leaves(output))


def same_failure(failure: Failure, other: Failure | None, tolerance: float = TOLERANCES[0]) -> bool:
    """Whether two failures show the same mistake.

    Args:
        failure: a failure.
        other: another, or None for a file that passes.
        tolerance: largest relative difference of what was observed.

    Returns:
        Whether stage, call and what was observed are the same.

    Example:
        >>> same_failure(Failure("import", "a", [1]), Failure("import", "b", [1]))
        True
    """
    if other is None or (failure.stage, failure.number) != (other.stage, other.number):
        return False
    return compare.equal(failure.observed, other.observed, tolerance)
