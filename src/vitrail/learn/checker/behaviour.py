"""The stage of behaviour: inputs unchanged, training mode, a second call, dtype and device."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vitrail.learn.checker import compare
from vitrail.learn.checker.devices import WrongDeviceError, check_devices
from vitrail.learn.checker.expected import Expected, run_call
from vitrail.learn.checker.failure import (
    Failure,
    StopError,
    describe_cpu,
    makes_tensors,
    stop_unless_equal,
)
from vitrail.learn.checker.subject import Call, Subject, map_tensors
from vitrail.learn.task import Task
from vitrail.messages import _

Run = Callable[[Callable[[], Any]], Any]  # runs the learner's code; what it raises ends the check


def check_behaviour(
    check: Task, subject: Subject, call: Call, expected: Expected, number: int, run: Run
) -> None:
    """Checks everything that holds of all modules and functions.

    Args:
        check: the lesson's check.
        subject: the learner's class or function.
        call: it, built for the case, with the case's weights.
        expected: the case.
        number: its position.
        run: runs the learner's code.

    Raises:
        StopError: something does not hold.

    Example:
        >>> check_behaviour.__name__
        'check_behaviour'
    """
    copies = map_tensors(expected.inputs, torch.clone)
    torch.manual_seed(expected.seed)
    if call.module is not None:
        call.module.eval()
    run(lambda: call.function(*copies))  # with gradients: a training step calls backward
    text = _("your code changes its input, at {where}")
    stop_unless_equal("behaviour", copies, expected.inputs, expected, number, 0.0, text)
    if check.deterministic:
        _check_modes(check, call, expected, number, run)
    if check.meta and makes_tensors(subject.text):
        _check_device(subject.path, call, expected, number)
    if check.dtype:
        _check_dtype(call, expected, number, run)


def _check_modes(check: Task, call: Call, expected: Expected, number: int, run: Run) -> None:
    for training, target, text in (
        (True, expected.training_output, _("in training mode the output is another, at {where}")),
        (False, expected.result.output, _("a second call gives another output, at {where}")),
    ):

        def work(training: bool = training) -> Any:
            seed, inputs = expected.seed, expected.inputs
            return run_call(call, inputs, seed, gradients=False, training=training).output

        output = run(work)
        stop_unless_equal("behaviour", output, target, expected, number, check.tolerance, text)


def _check_dtype(call: Call, expected: Expected, number: int, run: Run) -> None:
    if call.module is not None:
        call.module.float()
    floats = map_tensors(expected.inputs, lambda t: t.float() if t.is_floating_point() else t)
    output = run(lambda: run_call(call, floats, expected.seed, gradients=False).output)
    ours, theirs = _dtypes(output), _dtypes(expected.dtype_output)
    if ours != theirs:
        message = _("for float32 weights and inputs your output is {ours}, not {theirs}.")
        message = message.format(ours=", ".join(ours), theirs=", ".join(theirs))
        raise StopError(Failure("behaviour", message, ours, expected.case.about, number))


def _dtypes(output: Any) -> list[str]:
    return [str(leaf.dtype) for _path, leaf in compare.leaves(output) if isinstance(leaf, Tensor)]


def _check_device(path: str, call: Call, expected: Expected, number: int) -> None:
    """Whatever the learner's code makes must be where its input is."""
    torch.manual_seed(expected.seed)
    try:
        check_devices(call.function, map_tensors(expected.inputs, torch.clone))
    except WrongDeviceError as error:
        raise StopError(describe_cpu(error, path, expected.case.about, number)) from error
