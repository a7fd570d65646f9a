"""The variable of the learner's that is wrong, by experiment.

A variable that differs from the solution's of the same name may mean something else. So it is given
the solution's values in the middle of the learner's own run: where the output is right then, the
mistake lies before, and the variable is what it was taken for.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vitrail.learn.checker import compare
from vitrail.learn.checker.expected import Expected
from vitrail.learn.checker.relations import relation
from vitrail.learn.checker.subject import Subject
from vitrail.learn.checker.walk import RETURN, Step, call_once, steps_of
from vitrail.messages import _, labelled

MOST_STEPS = 60  # of the learner's, that are given other values
LARGEST_RANK = 5  # of tensors whose axes are exchanged


@dataclass(frozen=True)
class WrongVariable:
    """Where a mistake lies.

    Args:
        sentence: in the user's language.
        exact: whether the sentence says what is wrong, and not only where.
        lines: first and last line of the learner's file between which it lies.

    Example:
        >>> WrongVariable("line 3: q has the opposite sign.", True, (2, 3)).exact
        True
    """

    sentence: str
    exact: bool
    lines: tuple[int, int]


def find_wrong_variable(
    subject: Subject, solution: Subject, expected: Expected, is_late: Callable[[], bool]
) -> WrongVariable | None:
    """The learner's first variable with which, had it the solution's values, the output were right.

    Args:
        subject: the learner's class or function.
        solution: the lesson's.
        expected: the case in which the output is wrong.
        is_late: whether to give up.

    Returns:
        It; None where there is none, or no time.

    Example:
        >>> find_wrong_variable.__name__
        'find_wrong_variable'
    """
    ours, _files = steps_of(call_once(subject, expected), subject.path)
    theirs, _files = steps_of(call_once(solution, expected), solution.path)
    targets = _distinct([step.value for step in theirs])
    right = 0  # the last line up to which every variable is one of the solution's
    trusted = True
    earlier: list[Tensor] = []
    for index, step in enumerate(ours[:MOST_STEPS]):
        same = [v for v in targets if any(_same(form, step.value) for form in _forms(v, step))]
        if same:
            right = step.line if trusted else right
            earlier += same
            continue
        if step.tensor is None or not _same(step.tensor, step.value):
            continue  # filled later, as what torch.zeros makes
        if index == len(ours) - 1 and step.name == RETURN:
            break  # the output itself
        for target in itertools.chain.from_iterable(_forms(value, step) for value in targets):
            if is_late():
                return None
            if _repairs(subject, expected, index, target):
                return _variable(step, target, earlier, right)
        trusted = False
    return None


def _variable(step: Step, target: Tensor, earlier: list[Tensor], right: int) -> WrongVariable:
    line = _("line {line}").format(line=step.line)
    name = _("what is returned here") if step.name == RETURN else step.name
    lines = (min(right, step.line), step.line)
    details = relation(step.value, target, earlier, name) if step.value.numel() > 2 else ""
    if details:
        return WrongVariable(labelled(line, details), True, lines)
    text = _("{line}: {name} is wrong; with the right values your output would be right.")
    if right and right < step.line:
        text = _(
            "{line}: {name} is wrong; with the right values your output would be right. "
            "Everything up to line {right} is right."
        )
    return WrongVariable(text.format(line=line, name=name, right=right), False, lines)


def _distinct(values: list[Tensor]) -> list[Tensor]:
    result: list[Tensor] = []
    for value in values:
        if not any(_same(value, other) for other in result):
            result.append(value)
    return result


def _same(value: Tensor, other: Tensor) -> bool:
    return value.shape == other.shape and compare.equal(value, other)


def _forms(value: Tensor, step: Step) -> Iterator[Tensor]:
    """The solution's values in the shape of the learner's: as they are, with other axes."""
    shape = step.value.shape
    if value.numel() != step.value.numel() or value.is_floating_point() != (
        step.value.is_floating_point()
    ):
        return
    if value.shape == shape:
        yield value
    if value.ndim == len(shape) <= LARGEST_RANK:
        for axes in itertools.permutations(range(value.ndim)):
            if axes != tuple(range(value.ndim)) and value.permute(axes).shape == shape:
                yield value.permute(axes)
    elif value.ndim != len(shape):
        yield value.reshape(shape)
        if value.ndim > 1 and math.prod(value.shape[-2:]) > max(value.shape[-2:]):
            yield value.mT.reshape(shape)


def _repairs(subject: Subject, expected: Expected, index: int, target: Tensor) -> bool:
    outputs: list[Any] = []
    work = call_once(subject, expected)
    steps_of(lambda: outputs.append(work()), subject.path, (index, target))
    return bool(outputs) and compare.equal(outputs[0], expected.result.output)
