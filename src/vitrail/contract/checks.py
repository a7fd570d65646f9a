"""What a check is, and how checks run: the contract suite, for Vitrail's tests and for users."""

import contextlib
import sysconfig
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.errors import VitrailError
from vitrail.messages import _, in_own_language
from vitrail.registry import describe_exception, short_path


class BrokenContractError(Exception):
    """A part does not do what its contract says; the message says what it does instead.

    Example:
        >>> raise BrokenContractError("logits are (2, 3), not (2, 5)")
        Traceback (most recent call last):
        vitrail.contract.checks.BrokenContractError: logits are (2, 3), not (2, 5)
    """


class Check(NamedTuple):
    """One thing that a contract asks of a part.

    Args:
        name: what it asks, in words.
        cure: what to do where it does not hold.
        run: function of the part that raises an exception where it does not hold.

    Example:
        >>> Check("is a number", "write digits", int).name
        'is a number'
    """

    name: str
    cure: str
    run: Callable[[Any], object]


class Outcome(NamedTuple):
    """What a check said of a part.

    Args:
        check: the check.
        problem: what does not hold; "" if all does.

    Example:
        >>> Outcome(Check("is a number", "write digits", int), "it is 'x'").problem
        "it is 'x'"
    """

    check: Check
    problem: str


def checked_by(checks: list[Check], name: str, cure: str) -> Callable[[Callable[..., None]], Any]:
    """Makes a function a check.

    Args:
        checks: list that the check is appended to.
        name: what it asks.
        cure: what to do where it does not hold.

    Returns:
        A decorator, which returns the function.

    Example:
        >>> checks = []
        >>> @checked_by(checks, "is positive", "add one")
        ... def _positive(number: int) -> None:
        ...     require(number > 0, f"it is {number}")
        >>> checks[0].name
        'is positive'
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        checks.append(Check(name, cure, function))
        return function

    return decorate


def require(condition: bool, problem: str) -> None:
    """Raises `BrokenContractError` where a condition does not hold.

    Args:
        condition: what must be.
        problem: what is instead.

    Raises:
        BrokenContractError: the condition does not hold.

    Example:
        >>> require(True, "never")
    """
    if not condition:
        raise BrokenContractError(problem)


def require_shape(what: str, value: object, shape: tuple[int, ...]) -> None:
    """Raises `BrokenContractError` where a tensor has another shape.

    Args:
        what: begin of the sentence, such as "logits are".
        value: the tensor, or whatever is in its stead.
        shape: the shape that it should have.

    Example:
        >>> require_shape("logits are", torch.zeros(2, 5), (2, 5))
    """
    require(shape_of(value) == str(shape), f"{what} {shape_of(value)}, and should be {shape}")


def require_same(problem: str, one: Tensor, other: Tensor) -> None:
    """Raises `BrokenContractError` where two tensors differ in a bit.

    Args:
        problem: what to say then.
        one: a tensor.
        other: another.

    Example:
        >>> require_same("never", torch.ones(2), torch.ones(2))
    """
    require(torch.equal(one, other), problem)


def require_close(what: str, one: Tensor, other: Tensor, tolerance: float) -> None:
    """Raises `BrokenContractError` where two tensors differ by more than rounding.

    Args:
        what: begin of the sentence, such as "logits of one image and of two".
        one: a tensor.
        other: another.
        tolerance: largest difference, relative to the largest value, if that is above 1.

    Example:
        >>> require_close("both", torch.ones(2), torch.ones(2) + 1e-7, 1e-6)
    """
    require(one.shape == other.shape, f"{what} are {shape_of(one)} and {shape_of(other)}")
    if not one.numel():
        return
    scale = max(1.0, float(other.detach().abs().max()))
    worst = float((one - other).detach().abs().max())  # NaN is not small
    require(worst <= tolerance * scale, f"{what} differ by {worst:.2g}")


def shape_of(value: object) -> str:
    """The shape of a tensor; of anything else its type.

    Args:
        value: any object.

    Returns:
        A text.

    Example:
        >>> shape_of(torch.zeros(2, 5)), shape_of(3)
        ('(2, 5)', 'int')
    """
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def require_none(names: Sequence[str], problem: str) -> None:
    """Raises `BrokenContractError` where there are names.

    Args:
        names: what must be empty, such as names of parameters without a gradient.
        problem: what to say of them, with {} in their place.

    Example:
        >>> require_none(["norm.weight", "norm.bias"], "no gradient reaches {}")
        Traceback (most recent call last):
        vitrail.contract.checks.BrokenContractError: no gradient reaches norm.weight and 1 more
    """
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        require(False, problem.format(f"{names[0] or 'the whole module'}{more}"))


@checked
def run_checks(checks: Sequence[Check], subject: Any) -> Iterator[Outcome]:
    """Runs checks, each from the same random numbers, and goes on where one fails.

    Args:
        checks: the checks.
        subject: the part, as the checks take it.

    Yields:
        What each check said, in order.

    Example:
        >>> [outcome.problem for outcome in run_checks([Check("is a number", "", int)], "1")]
        ['']
    """
    for check in checks:
        torch.manual_seed(0)
        problem = ""
        try:
            check.run(subject)
        except Exception as error:  # whatever the part raises
            problem = describe_problem(error)
        yield Outcome(check, problem)


def describe_problem(problem: Exception) -> str:
    """An exception in one line, with the last line of the user's own code that it came through.

    Args:
        problem: what a check or a part raised.

    Returns:
        Its message alone for `BrokenContractError`, which says all. Sentences of Vitrail are in the
        user's language.

    Example:
        >>> describe_problem(BrokenContractError("logits are (2, 3)"))
        'logits are (2, 3)'
    """
    if isinstance(problem, BrokenContractError):
        return in_own_language(str(problem))
    text = describe_exception(problem)
    if isinstance(problem, VitrailError):  # sentences with their full stop are in the catalog
        text = in_own_language(f"{text}.").rstrip(".。")
    standard_library = sysconfig.get_path("stdlib")
    for frame in reversed(traceback.extract_tb(problem.__traceback__)):
        parts = Path(frame.filename).parts
        if frame.filename.startswith(("<", standard_library)):
            continue
        if not {"site-packages", "vitrail"} & set(parts):
            where = {"path": short_path(frame.filename), "line": frame.lineno}
            return _("{problem} ({path}, line {line})").format(problem=text, **where)
    return text


@contextlib.contextmanager
def count_calls(modules: Iterable[nn.Module]) -> Iterator[Counter[nn.Module]]:
    """Counts the calls of modules, by forward hooks.

    Args:
        modules: the modules.

    Returns:
        A context manager that gives the number of calls by module.

    Example:
        >>> layer = nn.Identity()
        >>> with count_calls([layer]) as calls:
        ...     _ = layer(1)
        >>> calls[layer]
        1
    """
    calls: Counter[nn.Module] = Counter()
    handles = [m.register_forward_hook(lambda m, *_: calls.update([m])) for m in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
