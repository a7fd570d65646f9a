"""Runs a call with one wrong value, and says what is wrong with what comes of it."""

import inspect
import signal
import traceback
import typing
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from torch import nn

from tests.hunt.kit import Kit
from tests.hunt.rows import Row
from tests.hunt.wrong import Case, cases
from vitrail.errors import VitrailError

LIMIT = 10  # seconds of processor time of a call, whatever else the machine does
ASLEEP = 600  # seconds until a call counts as hanging that computes nothing
PATIENT = ("rounds",)
Only = Callable[[int, Case], bool]  # number of a case, and the case → whether it is tried


class TooLongError(BaseException):
    """A call does not end."""


def _stop(signum: int, frame: FrameType | None) -> None:
    raise TooLongError


def _is_raised_by(module: Any, error: Exception) -> bool:
    """Whether a module raised an error in its forward, or what it calls did."""
    frames = traceback.walk_tb(error.__traceback__)
    return isinstance(module, nn.Module) and any(
        frame.f_locals.get("self") is module for frame, _line in frames
    )


def run(function: Callable[..., Any], row: Row, kit: Kit, changes: dict[str, Any]) -> Any:
    """A call of a row with changed arguments, and what is done with its result."""
    torch.manual_seed(0)
    return row.use(kit, function(**{**row.arguments(kit), **changes}))


def parameters(function: Callable[..., Any], row: Row, kit: Kit) -> Iterator[tuple[str, Any, Any]]:
    """Name, annotation and valid value of each parameter of a row."""
    init = function.__init__ if inspect.isclass(function) else function  # type: ignore[misc]
    hints = typing.get_type_hints(inspect.unwrap(init), include_extras=True)
    for name, value in row.arguments(kit).items():
        yield name, hints.get(name, Any), value


def problems(
    function: Callable[..., Any], row: Row, kit: Kit, only: Only | None = None
) -> Iterator[tuple[str, str]]:
    """What is wrong with the calls of a function, by parameter and value."""
    number = 0
    for name, hint, valid in parameters(function, row, kit):
        for case in cases(hint, valid):
            number += 1
            if only is not None and not only(number, case):
                continue
            if problem := problem_of(function, row, kit, name, case):
                yield f"{name}={case.label}", problem


def problem_of(function: Callable[..., Any], row: Row, kit: Kit, name: str, case: Case) -> str:
    """What is wrong with one call; "" where nothing is."""
    timers = (
        (signal.SIGPROF, signal.ITIMER_PROF, LIMIT),
        (signal.SIGALRM, signal.ITIMER_REAL, ASLEEP),
    )
    previous = [signal.signal(number, _stop) for number, _, _ in timers]
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(function, row, kit, {name: case.value})
    except VitrailError as error:
        message = str(error)
        return "" if message.count("\n") == 0 and message.strip() else f"lines: {message!r}"
    except OSError as error:  # Python's own line, which names the path
        return "" if error.filename else f"OSError: {error}"
    except TooLongError:  # so many rounds, steps or neighbors may be meant
        return "" if name in (*PATIENT, *row.patient) else f"does not end in {LIMIT} s"
    except Exception as error:  # whatever it raises
        if case.allowed is not False and _is_raised_by(case.value, error):
            return ""  # any module is allowed, and its error is the user's own
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    finally:
        for (number, timer, _), handler in zip(timers, previous, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
    return "accepted" if case.allowed is False else ""
