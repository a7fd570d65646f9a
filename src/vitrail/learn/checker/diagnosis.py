"""The mistake behind a failure: the wrong version, or pair of them, that fails in the same way."""

import contextlib
import functools
import itertools
import math
import time
import warnings
from dataclasses import dataclass, field

from vitrail.errors import ConfigError
from vitrail.learn.checker import compare
from vitrail.learn.checker.changes import changes
from vitrail.learn.checker.failure import Failure
from vitrail.learn.checker.source import Change
from vitrail.learn.checker.stages import Checker
from vitrail.learn.lesson import Wrong

TOLERANCES = 1e-8, 1e-5  # the second for those who compute in float32 besides
MOST_CHANGES = 500  # of a solution that are tried


@dataclass
class Diagnoser:
    """Compares failures with those of a lesson's wrong versions.

    Args:
        checker: the lesson's checker, with the weights and inputs of the failures.
        seconds: of processor time, after which it gives up: a solution may train a model. Changes
            are tried in the first two thirds of it, then pairs of wrong versions.
        failures: those of wrong versions that were tried already, by stage, call and names.

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
    failures: dict[tuple[str, int, tuple[str, ...]], Failure | None] = field(default_factory=dict)

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
                return (wrong,)
        return ()

    def change(self, failure: Failure) -> Change | None:
        """The solution with one change, which no lesson foresees, that fails in the same way.

        Args:
            failure: of the learner's file.

        Returns:
            The first; None where none does.
        """
        if not all(compare.is_finite(leaf) for _path, leaf in compare.leaves(failure.observed)):
            return None  # NaN has too many causes
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some are odd code
            end = time.process_time() + self.seconds * 2 / 3
            for change in itertools.islice(changes(self.checker.lesson.solution), MOST_CHANGES):
                if time.process_time() > end:
                    break
                with contextlib.suppress(Exception):
                    other = self.checker.failure_like(failure, change.text, "change.py")
                    if same_failure(failure, other):
                        return change
        return None

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
        end = time.process_time() + self.seconds / 3
        for tolerance in TOLERANCES:
            for combination in combinations:
                if time.process_time() > end:
                    return ()
                if same_failure(failure, self._failure_with(combination, failure), tolerance):
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
