"""The class or function that a learner's file defines: loading it, building it, calling it."""

import inspect
import linecache
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.learn.task import Case, State


class LoadingError(Exception):
    """A file does not define what a lesson asks for.

    Args:
        exception: what was raised, or None.
        text: the same as a message.

    Example:
        >>> LoadingError(None, "no class Attention").text
        'no class Attention'
    """

    def __init__(self, exception: BaseException | None, text: str = "") -> None:
        super().__init__(text)
        self.exception, self.text = exception, text


@dataclass(frozen=True)
class Subject:
    """A class or function of a file.

    Args:
        object: the class or function.
        path: name of the file, as tracebacks show it.
        text: the file's text.

    Example:
        >>> subject = load_subject("def double(x):\\n    return 2 * x", "a.py", "double")
        >>> subject.is_class, subject.object(2)
        (False, 4)
    """

    object: Any
    path: str
    text: str

    @property
    def is_class(self) -> bool:
        """Whether it is a class rather than a function."""
        return inspect.isclass(self.object)

    def build(self, case: Case) -> "Call":
        """The function that a case calls, in float64: of a class, an object of it.

        Args:
            case: the case.

        Returns:
            The function and, of a class, the module.
        """
        return make_call(self.object, case, is_class=self.is_class)


@dataclass(frozen=True)
class Call:
    """What a case calls.

    Args:
        function: called with the inputs.
        module: the module, whose forward it is; None of a function.

    Example:
        >>> Call(abs, None).function(-1)
        1
    """

    function: Callable[..., Any]
    module: nn.Module | None

    def parameters(self) -> State:
        """The parameters by name; none of a function."""
        return dict(self.module.named_parameters()) if self.module is not None else {}

    @torch.no_grad()
    def load(self, state: State) -> None:
        """Copies values into the parameters that have the same name and shape.

        Args:
            state: values by name.
        """
        for name, parameter in self.parameters().items():
            if name in state and state[name].shape == parameter.shape:
                parameter.copy_(state[name])


def make_call(target: Any, case: Case, *, is_class: bool) -> Call:
    """What a case calls, of a class or function.

    Args:
        target: class, function that builds a module, or function.
        case: the case.
        is_class: whether the options are those of a constructor.

    Returns:
        The call, its module in float64.

    Example:
        >>> make_call(nn.Linear, Case("", tuple, {"in_features": 2, "out_features": 1}),
        ...           is_class=True).function(torch.ones(1, 2).double()).shape
        torch.Size([1, 1])
    """
    if not is_class:
        return Call(lambda *inputs: target(*inputs, **case.options), None)
    module = target(**case.options)
    if isinstance(module, nn.Module):
        module.double()
        return Call(module, module)
    return Call(module, None)


def load_subject(text: str, path: str, name: str, module_name: str = "lesson") -> Subject:
    """Runs a file's text and takes a class or function from it.

    Args:
        text: the text.
        path: the file's path, for tracebacks.
        name: name of the class or function.
        module_name: name of the module that the text becomes.

    Returns:
        The subject.

    Raises:
        LoadingError: the text cannot be run, or does not define the name.

    Example:
        >>> load_subject("x = 1", "a.py", "f")
        Traceback (most recent call last):
        vitrail.learn.checker.subject.LoadingError
    """
    module = types.ModuleType(module_name)
    module.__file__ = path
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    sys.modules[module_name] = module  # dataclasses and pickles look their module up
    try:
        exec(compile(text, path, "exec"), module.__dict__)
    except Exception as error:
        raise LoadingError(error) from error
    if not callable(vars(module).get(name)):
        raise LoadingError(None)
    return Subject(vars(module)[name], path, text)


def signature_of(target: Any) -> list[str]:
    """Names of the parameters of a function or constructor, with their defaults.

    Args:
        target: class or function.

    Returns:
        Such as ["dim", "heads=8"].

    Example:
        >>> signature_of(lambda dim, heads=8: None)
        ['dim', 'heads=8']
    """
    parameters = inspect.signature(target).parameters.values()
    return [
        p.name if p.default is inspect.Parameter.empty else f"{p.name}={p.default!r}"
        for p in parameters
    ]


def line_of(error: BaseException, path: str) -> int | None:
    """The last line of a file that a traceback, or a syntax error, names.

    Args:
        error: the exception.
        path: the file.

    Returns:
        The line's number, or None where the file has no part in it.

    Example:
        >>> line_of(ValueError(), "a.py") is None
        True
    """
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def to_double(value: Any) -> Any:
    """A copy of inputs in float64.

    Args:
        value: a tensor, or nested lists and tuples of them; other values stay.

    Returns:
        The copy; tensors of whole numbers keep their type.

    Example:
        >>> to_double(torch.ones(1)).dtype
        torch.float64
    """
    return map_tensors(value, lambda t: t.detach().clone().double() if t.is_floating_point() else t)


def map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Applies a function to every tensor of nested lists, tuples and dictionaries.

    Args:
        value: the nested value.
        function: of a tensor.

    Returns:
        The same nesting.

    Example:
        >>> map_tensors([torch.ones(2), "a"], lambda tensor: tensor.sum())
        [tensor(2.), 'a']
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(v, function) for v in value))
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(v, function) for v in value)
    if isinstance(value, dict):
        return {k: map_tensors(v, function) for k, v in value.items()}
    return value
