"""Experiments that find the cause of a wrong output where no wrong version of the lesson matches.

They depend on numbers alone, and not on how the learner's code is written: which layer is given
something else than in the solution, which variable is related to one of the solution's, which
parameter changes nothing, and for which other arguments the solution would give this output.
"""

import collections
import contextlib
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from vitrail.learn.checker import compare
from vitrail.learn.checker.expected import Expected, run_call
from vitrail.learn.checker.relations import relation, relation_of_parts, weak_relation
from vitrail.learn.checker.subject import Subject, map_tensors
from vitrail.learn.checker.walk import RETURN, call_once, steps_of
from vitrail.learn.task import State
from vitrail.messages import _, labelled

MOST_ARGUMENTS = 80  # other arguments that are tried


def find_causes(
    subject: Subject,
    solution: Subject,
    expected: Expected,
    output: Any,
    *,
    vague: bool = True,
    is_late: Callable[[], bool] = lambda: False,
) -> tuple[str, ...]:
    """What is wrong with an output, by experiment.

    Args:
        subject: the learner's class or function.
        solution: the lesson's.
        expected: the case in which the output is wrong.
        output: the learner's.
        vague: whether a sentence may say only where to look.
        is_late: whether to give up, asked again and again.

    Returns:
        Sentences in the user's language, of the first experiment that finds something; else none.

    Example:
        >>> find_causes.__name__
        'find_causes'
    """
    of_arguments = functools.partial(_of_arguments, is_late=is_late)
    of_layers = functools.partial(_of_layers, vague=vague)
    for experiment in (_of_chance, of_arguments, _of_parameters, _of_parts, of_layers):
        sentence = "" if is_late() else experiment(subject, solution, expected, output)
        if sentence:
            return (sentence,)
    return tuple(filter(None, [weak_relation(output, expected.result.output)])) if vague else ()


def _of_chance(subject: Subject, solution: Subject, expected: Expected, _output: Any) -> str:
    """Whether every seed gives another output in evaluation mode, and not so the solution's."""

    def is_random(each: Subject) -> bool:
        call = each.build(expected.case)
        call.load(expected.state)
        seeds = expected.seed, expected.seed + 1
        first, second = (run_call(call, expected.inputs, s, gradients=False) for s in seeds)
        return not compare.equal(first.output, second.output)

    if not is_random(subject) or is_random(solution):
        return ""
    return _("in evaluation mode your output is random: draw only where self.training is true.")


def _of_parts(_subject: Subject, solution: Subject, expected: Expected, output: Any) -> str:
    """The variable or parameter of the solution that the output holds too often or not at all."""
    return relation_of_parts(output, expected.result.output, _sources(solution, expected))


def _sources(solution: Subject, expected: Expected) -> list[tuple[str, Tensor]]:
    """Names and values of the solution's parameters and variables."""
    steps, _files = steps_of(call_once(solution, expected), solution.path)
    return [*expected.state.items(), *((f"`{s.name}`", s.value) for s in steps if s.name != RETURN)]


def _of_layers(
    subject: Subject, solution: Subject, expected: Expected, _output: Any, *, vague: bool
) -> str:
    """The first layer or given function, in the solution's order, that is given something else."""
    ours, calls = _inputs_of_layers(subject, expected)
    theirs, right_calls = _inputs_of_layers(solution, expected)
    earlier: list[Any] = [value for value in expected.inputs if isinstance(value, Tensor)]
    for name, target in theirs.items():
        if name in ours and not compare.equal(ours[name], target):
            text = _("what {name} is given").format(name=name)
            if not compare.same_shape(ours[name], target):
                expectation = _("expected {expected}.")
                shape = expectation.format(expected=compare.shape_of_result(target))
                return labelled(text, f"{compare.shape_of_result(ours[name])}, {shape}")
            sentence = relation(ours[name], target, earlier, text)
            sentence = sentence or _of_a_layer(solution, expected, ours[name], target, text)
            sources = _sources(solution, expected)
            sentence = sentence or relation_of_parts(ours[name][0], target[0], sources, text)
            if sentence or not vague:
                return sentence
            later = [*theirs][[*theirs].index(name) + 1 :]
            early = [other for other in [*ours][: [*ours].index(name)] if other in later]
            text = _(
                "the first layer that is given something else than it should is {name}: look at "
                "what comes before it."
            )
            if early:
                text = _("{name} is called after {other}, and should come before it.")
                return text.format(name=name, other=early[0])
            return text.format(name=name)
        earlier.append(target)
    for name in theirs:
        if calls.get(name, 0) > right_calls[name]:
            text = _("{name} is called {count} times, not {expected}.")
            return text.format(name=name, count=calls[name], expected=right_calls[name])
    if vague and theirs and all(name in ours for name in theirs):
        text = _("every layer is given what it should: look at what comes after {name}.")
        return text.format(name=list(theirs)[-1])
    return ""


def _of_a_layer(
    solution: Subject, expected: Expected, arguments: Any, target: Any, text: str
) -> str:
    """The layer that has been called too early, or not at all, before another."""
    call = solution.build(expected.case)
    call.load(expected.state)
    for name, layer in call.module.eval().named_modules() if call.module is not None else ():
        with torch.no_grad(), contextlib.suppress(Exception):
            if name and compare.equal(layer(*target), arguments[0]):
                return _("{part} has gone through {name}, and should not.").format(
                    part=text, name=name
                )
            if name and compare.equal(layer(*arguments), target[0]):
                return _("{part} should have gone through {name}.").format(part=text, name=name)
    return ""


def _inputs_of_layers(
    subject: Subject, expected: Expected
) -> tuple[dict[str, Any], collections.Counter[str]]:
    """What every layer of a module, and every function among the arguments, is given at its first
    call, in the order of the calls; and how often it is called.
    """
    call = subject.build(expected.case)
    call.load(expected.state)
    inputs: dict[str, Any] = {}
    calls = collections.Counter[str]()

    def note(name: str, arguments: Any) -> None:
        parts = [leaf for _path, leaf in compare.leaves(arguments)]
        if not parts or not all(isinstance(leaf, Tensor | int | float) for leaf in parts):
            return
        calls[name] += 1
        inputs.setdefault(name, map_tensors(arguments, torch.clone))

    for name, layer in call.module.eval().named_modules() if call.module is not None else ():
        if name and any(True for _parameter in layer.parameters()):
            layer.register_forward_pre_hook(lambda _m, arguments, n=name: note(n, arguments))

    def noting(function: Any, name: str) -> Any:
        def noted(*arguments: Any) -> Any:
            note(name, arguments)
            return function(*arguments)

        return noted if callable(function) and not isinstance(function, Tensor) else function

    pairs = zip(_names_of(subject), expected.inputs, strict=False)
    _quietly(call.function, expected, tuple(noting(value, name) for name, value in pairs))
    return inputs, calls


def _names_of(subject: Subject) -> list[str]:
    """The names of the arguments of a call."""
    function = subject.object.forward if subject.is_class else subject.object
    return [name for name in inspect.signature(function).parameters if name != "self"]


def _of_parameters(subject: Subject, _solution: Subject, expected: Expected, output: Any) -> str:
    """The parameters that change nothing in the learner's output."""
    if not subject.is_class:
        return ""
    call = subject.build(expected.case)
    call.load(expected.state)
    if call.module is None:
        return ""
    call.module.eval()
    unused = []
    for name, parameter in call.parameters().items():
        with torch.no_grad():
            before = parameter.clone()
            parameter.copy_(torch.randn(parameter.shape))
            changed = _quietly(call.function, expected, expected.inputs)
            parameter.copy_(before)
        if changed is not None and compare.equal(changed, output, 1e-12):
            unused.append(name)
    if not unused or len(unused) == len(call.parameters()):
        return ""
    text = _("your output does not depend on {names}, which should take part.")
    return text.format(names=", ".join(unused))


def _of_arguments(
    _subject: Subject,
    solution: Subject,
    expected: Expected,
    output: Any,
    *,
    is_late: Callable[[], bool],
) -> str:
    """The other arguments or parameters for which the solution gives the learner's output."""
    inputs, state = expected.inputs, expected.state
    arguments = itertools.islice(_other_arguments(inputs, _names_of(solution)), MOST_ARGUMENTS)
    parameters = (
        ({**state, name: other}, words.format(name=name))
        for name, value in state.items()
        for other, words in _other_tensors(value)
    )
    for others, parts, words in itertools.chain(
        ((others, state, words) for others, words in arguments),
        ((inputs, parts, words) for parts, words in parameters),
    ):
        if is_late():
            break
        if _gives(solution, expected, others, parts, output):
            return _("your output would be right if {words}.").format(words=words)
    return ""


def _gives(
    solution: Subject, expected: Expected, inputs: tuple[Any, ...], state: State, output: Any
) -> bool:
    """Whether the solution gives an output for other arguments and parameters."""
    call = solution.build(expected.case)
    call.load(state)
    if call.module is not None:
        call.module.eval()
    theirs = _quietly(call.function, expected, inputs)
    return theirs is not None and compare.equal(theirs, output)


def _other_arguments(
    inputs: tuple[Any, ...], names: list[str]
) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Arguments that differ by one change, with the change in words."""

    def changed(index: int, value: Any) -> tuple[Any, ...]:
        return (*inputs[:index], value, *inputs[index + 1 :])

    for i, (value, name) in enumerate(zip(inputs, names, strict=False)):
        for j in range(i + 1, len(inputs)):
            if _exchangeable(value, inputs[j]):
                both = changed(i, inputs[j])
                both = (*both[:j], value, *both[j + 1 :])
                yield (
                    both,
                    _("{first} and {second} changed places").format(first=name, second=names[j]),
                )
                yield (
                    changed(i, inputs[j]),
                    _("{first} were {second}").format(first=name, second=names[j]),
                )
                yield (
                    changed(j, value),
                    _("{first} were {second}").format(first=names[j], second=name),
                )
        if isinstance(value, Tensor) and value.ndim:
            for other, words in _other_tensors(value):
                yield changed(i, other), words.format(name=name)
        elif isinstance(value, int) and not isinstance(value, bool):
            for number in (value - 1, value + 1):
                text = _("{name} were {value}, not {old}")
                yield changed(i, number), text.format(name=name, value=number, old=value)


def _exchangeable(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return value.shape == other.shape and value.dtype == other.dtype
    return isinstance(value, int) and isinstance(other, int) and value != other


def _other_tensors(value: Tensor) -> Iterator[tuple[Tensor, str]]:
    for axis in range(value.ndim):
        if value.shape[axis] > 1:
            yield (
                value.flip(axis),
                _("{name} were reversed along axis {axis}").format(name="{name}", axis=axis),
            )
            for shift in (1, -1):
                text = _("{name} were moved by one along axis {axis}")
                yield value.roll(shift, axis), text.format(name="{name}", axis=axis)
        for other in range(axis + 1, value.ndim):
            if value.shape[axis] == value.shape[other] > 1:
                text = _("axes {first} and {second} of {name} changed places")
                yield (
                    value.transpose(axis, other),
                    text.format(name="{name}", first=axis, second=other),
                )
    if value.dtype == torch.bool:
        yield ~value, _("{name} were the opposite")
    elif value.is_floating_point():
        yield -value, _("{name} had the opposite sign")


def _quietly(function: Any, expected: Expected, inputs: tuple[Any, ...]) -> Any:
    """The result of a call without gradients; None where it raises."""
    with torch.no_grad(), contextlib.suppress(Exception):
        torch.manual_seed(expected.seed)
        return function(*map_tensors(inputs, torch.clone))
    return None
