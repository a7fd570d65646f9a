"""The walk through a learner's function: every variable's shape, up to the first wrong one."""

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor

from vitrail.learn.checker.compare import difference, same_shape
from vitrail.learn.checker.expected import Expected
from vitrail.learn.checker.relations import relation
from vitrail.learn.checker.subject import Subject, map_tensors
from vitrail.learn.checker.verdict import Row

MOST_STEPS = 400
CLOSE = 1e-9  # largest relative difference of values that agree
RETURN = "return"


@dataclass(frozen=True)
class Step:
    """A tensor that a line assigns.

    Args:
        line: number of the line.
        name: the variable's name, or "return".
        value: a copy of the tensor.
        tensor: the tensor itself, which a later line may change in place.

    Example:
        >>> Step(3, "q", torch.zeros(1, 2)).name
        'q'
    """

    line: int
    name: str
    value: Tensor
    tensor: Tensor | None = None


def steps_of(
    work: Callable[[], Any], path: str, edit: tuple[int, Tensor] | None = None
) -> tuple[list[Step], set[str]]:
    """Runs a function and notes the tensors that a file's lines assign.

    Args:
        work: the function; what it raises is ignored.
        path: the file.
        edit: position of a step whose tensor gets other values, and these; None for none.

    Returns:
        The steps in order, and the files whose code ran.

    Example:
        >>> steps_of(lambda: None, "a.py")[0]
        []
    """
    steps: list[Step] = []
    files: set[str] = set()
    last: dict[int, dict[str, int]] = {}  # frame → id of each variable's tensor

    def add(line: int, name: str, value: Tensor) -> None:
        if edit is not None and len(steps) == edit[0]:
            value.data.copy_(edit[1])
        steps.append(Step(line, name, value.detach().clone(), value.detach()))

    def note(frame: FrameType, line: int) -> None:
        before = last.setdefault(id(frame), {})
        for name, value in list(frame.f_locals.items()):
            if isinstance(value, Tensor) and before.get(name) != id(value):
                before[name] = id(value)
                if len(steps) < MOST_STEPS and line:
                    add(line, name, value)

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        code: CodeType = frame.f_code
        files.add(code.co_filename)
        if code.co_filename != path or event != "call":
            return None
        note(frame, 0)
        line = frame.f_lineno

        def local(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal line
            if event in ("line", "return"):
                note(frame, line)
                line = frame.f_lineno
            whole = not frame.f_code.co_name.startswith("<")  # no lambda, no comprehension
            if (
                event == "return"
                and whole
                and isinstance(argument, Tensor)
                and len(steps) < MOST_STEPS
            ):
                add(frame.f_lineno, RETURN, argument)
            return local

        return local

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Exception:
        pass
    finally:
        sys.settrace(former)
    return steps, files


def line_of_change(function: Callable[..., Any], path: str, inputs: tuple[Any, ...]) -> int:
    """The line of a file that changes an argument in place.

    Args:
        function: the function.
        path: the file.
        inputs: arguments, which are copied.

    Returns:
        Its number; 0 where no tensor among them is changed.

    Example:
        >>> line_of_change(lambda x: x.add_(1), __file__, (torch.ones(2),))
        0
    """
    copies = map_tensors(inputs, torch.clone)
    changed = [0]

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "call" and frame.f_code.co_filename != path:
            return None
        line = frame.f_lineno

        def local(frame: FrameType, _event: str, _argument: Any) -> Any:
            nonlocal line
            if not changed[0] and difference(copies, inputs):
                changed[0] = line
            line = frame.f_lineno
            return local

        return local

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*copies)
    except Exception:
        pass
    finally:
        sys.settrace(former)
    return changed[0]


def call_once(subject: Subject, expected: Expected) -> Callable[[], Any]:
    """A call of a subject with the case's weights and inputs, to be traced.

    Args:
        subject: the class or function.
        expected: the case.

    Returns:
        A function without arguments.

    Example:
        >>> call_once.__name__
        'call_once'
    """
    call = subject.build(expected.case)
    call.load(expected.state)
    if call.module is not None:
        call.module.eval()

    def work() -> Any:
        torch.manual_seed(expected.seed)
        return call.function(*map_tensors(expected.inputs, torch.clone))

    return work


def walk(subject: Subject, solution: Subject, expected: Expected) -> list[Row]:
    """The learner's steps beside the solution's, up to the first that differs.

    Args:
        subject: the learner's class or function.
        solution: the lesson's.
        expected: the case.

    Returns:
        Rows; the last one differs, unless none does.

    Example:
        >>> walk.__name__
        'walk'
    """
    ours, _ = steps_of(call_once(subject, expected), subject.path)
    theirs, _ = steps_of(call_once(solution, expected), solution.path)
    pairs = _pairs(ours, theirs)
    rows = []
    for number, (step, match) in enumerate(pairs):
        row = _row(step, match)
        later = [pair for pair in pairs[number + 1 :] if pair[0].name == step.name]
        if row.agrees is False and _on_the_way(row, later):
            row = dataclasses.replace(row, agrees=None, expected="", relation="")
        rows.append(row)
        if row.agrees is False:
            break
    return rows


def _on_the_way(row: Row, later: list[tuple[Step, Step | None]]) -> bool:
    """Whether a variable that differs becomes right later, in value or at least in shape."""
    shapes = {str(tuple(step.value.shape)) for step, _match in later}
    return any(_agree(*pair) for pair in later) or (
        row.shape != row.expected and row.expected in shapes
    )


def _pairs(ours: list[Step], theirs: list[Step]) -> list[tuple[Step, Step | None]]:
    """Each of the learner's steps with the solution's: of that name the next equal one, or next."""
    rest = list(theirs)
    pairs: list[tuple[Step, Step | None]] = []
    for step in ours:
        namesakes = [other for other in rest if other.name == step.name]
        equal = [other for other in namesakes if _agree(step, other)]
        match = next(iter(equal or namesakes), None)
        pairs.append((step, match))
        if match is not None and equal:
            rest = rest[rest.index(match) + 1 :] if match.name != RETURN else rest
    return pairs


def _agree(step: Step, match: Step | None) -> bool:
    if match is None or not same_shape(step.value, match.value):
        return False
    return difference(step.value, match.value) < CLOSE


def _row(step: Step, match: Step | None) -> Row:
    shape = str(tuple(step.value.shape))
    if match is None:
        return Row(step.line, step.name, shape, "", None, _numbers(step.value), "")
    agrees = _agree(step, match)
    expected = str(tuple(match.value.shape))
    values, others = _numbers(step.value), _numbers(match.value)
    name = "" if step.name == RETURN else step.name
    text = "" if agrees or shape != expected else relation(step.value, match.value, (), name)
    return Row(step.line, step.name, shape, expected, agrees, values, others, text)


def _numbers(tensor: Tensor) -> str:
    numbers = tensor.flatten()[:4].tolist()
    return " ".join(f"{number:.4g}" for number in numbers if isinstance(number, int | float))
