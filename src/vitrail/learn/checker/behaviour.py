"""The stage of behaviour: inputs unchanged, training mode, a second call, dtype and device."""

import dataclasses
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
from vitrail.learn.checker.walk import line_of_change
from vitrail.learn.task import Task
from vitrail.messages import _, labelled

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
    if not compare.equal(copies, expected.inputs, 0.0):
        line = line_of_change(call.function, subject.path, expected.inputs)
        text = labelled(_("line {line}").format(line=line), text) if line else text
    stop_unless_equal("behaviour", copies, expected.inputs, expected, number, 0.0, text)
    if check.deterministic:
        _check_modes(check, call, expected, number, run)
    if check.meta and makes_tensors(subject.text):
        _check_device(subject.path, call, expected, number)
    if check.dtype:
        _check_dtype(call, expected, number, run)


def check_initial_values(
    subject: Subject, solution: Subject, expected: Expected, number: int, run: Run
) -> None:
    """Checks that parameters which the solution fills with one number start from it.

    Args:
        subject: the learner's class.
        solution: the lesson's.
        expected: the case.
        number: its position.
        run: runs the learner's code.

    Raises:
        StopError: one starts from something else.

    Example:
        >>> check_initial_values.__name__
        'check_initial_values'
    """
    ours = run(lambda: subject.build(expected.case)).parameters()
    for name, start in solution.build(expected.case).parameters().items():
        if name not in ours or ours[name].shape != start.shape:  # another stage says so
            continue
        value, first = ours[name].detach(), start.detach().flatten()[0]
        if bool((start == first).all()) and not torch.allclose(value, start, rtol=1e-6, atol=0.0):
            worst = float(value.flatten()[(value - first).abs().argmax()])
            message = _("{name} starts from {ours:.4g}, and should start from {theirs:.4g}.")
            message = message.format(name=name, ours=worst, theirs=float(first))
            raise StopError(Failure("behaviour", message, [name, worst], "", number))


def _check_modes(check: Task, call: Call, expected: Expected, number: int, run: Run) -> None:
    for training, target, text in (
        (True, expected.training_output, _("in training mode the output is another, at {where}")),
        (False, expected.result.output, _("a second call gives another output, at {where}")),
    ):

        def work(training: bool = training) -> Any:
            seed, inputs = expected.seed, expected.inputs
            return run_call(call, inputs, seed, gradients=False, training=training).output

        output = run(work)
        if training and not compare.equal(output, target, check.tolerance):
            text = _with_dropout(call, expected, text)
        stop_unless_equal("behaviour", output, target, expected, number, check.tolerance, text)


def _with_dropout(call: Call, expected: Expected, text: str) -> str:
    """The text, or another where every seed gives another output in training mode."""
    outputs = [
        run_call(call, expected.inputs, expected.seed + i, gradients=False, training=True).output
        for i in range(2)
    ]
    if compare.equal(*outputs):
        return text
    return _("in training mode something random (dropout?) changes the output, at {where}")


def _check_dtype(call: Call, expected: Expected, number: int, run: Run) -> None:
    if call.module is not None:
        call.module.float()
    floats = map_tensors(expected.inputs, lambda t: t.float() if t.is_floating_point() else t)
    try:
        output = run(lambda: run_call(call, floats, expected.seed, gradients=False).output)
    except StopError as stop:
        text = _(
            "{message} It runs in float64 and not in float32: something is made in a fixed dtype; "
            "x.to(other) gives it dtype and device of another tensor."
        )
        message = text.format(message=stop.failure.message)
        raise StopError(dataclasses.replace(stop.failure, message=message)) from None
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
