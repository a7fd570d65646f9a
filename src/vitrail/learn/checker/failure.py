"""Where a check stopped, and why."""

import ast
from dataclasses import dataclass
from typing import Any

from vitrail.learn.checker import compare
from vitrail.learn.checker.expected import Expected
from vitrail.learn.checker.subject import line_of
from vitrail.messages import _, labelled

FACTORIES = {
    "arange", "empty", "eye", "full", "linspace", "logspace", "ones", "rand", "randint", "randn",
    "randperm", "tensor", "as_tensor", "from_numpy", "tril_indices", "triu_indices", "zeros",
    "Tensor", "FloatTensor",
}  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """Where a check stopped.

    Args:
        stage: one of `verdict.STAGES`.
        message: what is wrong, in the user's language.
        observed: what the learner's code gave, by which wrong versions are recognised.
        case: which call; "" where none is concerned.
        number: the call's position among the cases; -1 where none is concerned.
        target: what was expected in the place of `observed`; None where it is no result.

    Example:
        >>> Failure("import", "no class Attention").case
        ''
    """

    stage: str
    message: str
    observed: Any = None
    case: str = ""
    number: int = -1
    target: Any = None


class StopError(Exception):
    """Ends a check.

    Args:
        failure: where it stopped.

    Example:
        >>> StopError(Failure("import", "no class")).failure.stage
        'import'
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def makes_tensors(text: str) -> bool:
    """Whether a file calls functions such as `torch.zeros`, which could choose the wrong device.

    Args:
        text: the file's text.

    Returns:
        Whether it does.

    Example:
        >>> makes_tensors("x = torch.arange(4)"), makes_tensors("x = y.softmax(-1)")
        (True, False)
    """
    calls = (node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    names = {getattr(call, "attr", getattr(call, "id", "")) for call in calls}
    return bool(names & FACTORIES)


def describe_error(stage: str, error: BaseException, path: str, case: str, number: int) -> Failure:
    """The failure of code that raises.

    Args:
        stage: where it was run.
        error: what it raised.
        path: the learner's file.
        case: which call.
        number: its position.

    Returns:
        The failure; its message names the line.

    Example:
        >>> describe_error("shapes", ValueError("no"), "a.py", "", -1).message
        'ValueError: no'
    """
    line = line_of(error, path)
    where = "" if line is None else labelled(_("line {line}").format(line=line), "")
    if isinstance(error, NotImplementedError) and not error.args:
        return Failure(stage, where + _("this is still to be written."), "stub", case, number)
    if isinstance(error, SystemExit):
        text = _("your code ends the program (sys.exit): return a result instead.")
        return Failure(stage, where + text, "exit", case, number)
    kind = type(error).__name__
    message = " ".join(str(error).split())[:400]
    return Failure(stage, f"{where}{kind}: {message}", ["raises", kind, message], case, number)


def describe_cpu(error: Exception | None, path: str, case: str, number: int) -> Failure:
    """The failure of code that makes a tensor on the CPU although its input is elsewhere.

    Args:
        error: what was raised, or None.
        path: the learner's file.
        case: which call.
        number: its position.

    Returns:
        The failure.

    Example:
        >>> describe_cpu(None, "a.py", "", 0).stage
        'behaviour'
    """
    line = None if error is None else line_of(error, path)
    text = _(
        "a tensor is made on the CPU although the input is elsewhere: "
        "give it device=x.device and dtype=x.dtype."
    )
    if line is not None:
        text = labelled(_("line {line}").format(line=line), text)
    return Failure("behaviour", text, "cpu", case, number)


def stop_unless_equal(
    stage: str,
    output: Any,
    target: Any,
    expected: Expected,
    number: int,
    tolerance: float,
    text: str = "",
) -> None:
    """Ends the check where two results differ.

    Args:
        stage: the stage.
        output: the learner's.
        target: the library's.
        expected: the case.
        number: its position; -1 where the results are of something else.
        tolerance: largest relative difference.
        text: what is wrong then, with "{where}"; "" for the usual words.

    Raises:
        StopError: they differ.

    Example:
        >>> stop_unless_equal.__name__
        'stop_unless_equal'
    """
    if compare.equal(output, target, tolerance):
        return
    text = text or _("the numbers differ, most at {where}")
    if compare.same_shape(output, target):
        where, ours, theirs = compare.worst_position(output, target)
        numbers = _("yours {ours:.6g}, expected {theirs:.6g}.")
        sentence = text.format(where=where) if where else _("the number is another")
        message = labelled(sentence, numbers.format(ours=ours, theirs=theirs))
    else:
        message = text.format(where=compare.shape_of_result(output))
    about = expected.case.about if number >= 0 else ""
    raise StopError(Failure(stage, message, output, about, number, target))
