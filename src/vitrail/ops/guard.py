"""The check of arguments of what every forward calls, and of the constructors of layers."""

import functools
import inspect
import traceback
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

import torch
from torch import Tensor, nn

from vitrail.arguments import Unchecked, convert_arguments, name_of
from vitrail.errors import ConfigError, VitrailError, describe_value
from vitrail.memory import is_out_of_memory
from vitrail.values import Range

Function = TypeVar("Function", bound=Callable[..., Any])
Fits = Callable[[Any], bool]

MOST = 2**53  # below which whole numbers are floats
# What PyTorch says, in errors of no class of their own, about sizes that cannot be allocated.
MEMORY_SIGNS = ("allocate", "overflow", "Overflow", "out of memory")
# What PyTorch and Python raise about shapes and values.
PROBLEMS = (
    TypeError, ValueError, LookupError, RuntimeError, ArithmeticError, AttributeError, MemoryError,
    AssertionError,
)  # fmt: skip


FOLDERS = (str(Path(__file__).parents[1]), str(Path(torch.__file__).parent))  # of the own code


class InputError(ConfigError):
    """Inputs of a layer that do not fit it.

    Example:
        >>> issubclass(InputError, ConfigError)
        True
    """


class TooLargeError(ConfigError, MemoryError):
    """Sizes that ask for more memory than can be allocated.

    Example:
        >>> issubclass(TooLargeError, MemoryError)
        True
    """


def guarded(function: Function) -> Function:
    """`checked` for functions that every forward calls, with a line for what PyTorch refuses, too.

    Values that plainly fit their annotations, such as a tensor or a tuple of whole numbers, take
    half a microsecond, and are passed on as they are; all others are checked as `checked` does.
    What the function then raises about shapes becomes one line that names the arguments. Graphs
    that are compiled or exported do not contain the check.

    Args:
        function: a function, or a constructor.

    Returns:
        The function.

    Raises:
        ConfigError: when the function is called, an argument is not what its annotation allows, or
            the arguments do not fit each other.

    Example:
        >>> @guarded
        ... def scale(x: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        ...     return x @ by
        >>> scale(torch.ones(2, 3), torch.ones(2, 3))
        Traceback (most recent call last):
        vitrail.errors.ConfigError: scale: mat1 and mat2 shapes cannot be multiplied (2x3 and ...
    """
    parameters = inspect.signature(function).parameters
    by_name = {
        name: _anything if name == "self" else _fits(parameter.annotation)
        for name, parameter in parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    in_order = tuple(
        by_name[name]
        for name, parameter in parameters.items()
        if name in by_name and parameter.kind is not parameter.KEYWORD_ONLY
    )

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        if torch.compiler.is_compiling():
            return function(*args, **keywords)
        for fits, value in zip(in_order, args, strict=False):
            if not fits(value):
                args, keywords = _convert(function, args, keywords)
                break
        else:
            for name, value in keywords.items():
                if name not in by_name or not by_name[name](value):
                    args, keywords = _convert(function, args, keywords)
                    break
        try:
            return function(*args, **keywords)
        except VitrailError:
            raise
        except PROBLEMS as problem:
            explanation = _explain(problem, function, args, keywords)
            if explanation is None:
                raise
            raise explanation from problem

    return call  # type: ignore[return-value]


def guarded_forward(forward: Function) -> Function:
    """A layer's `forward`, which says in one line what its inputs do not fit.

    The arguments are looked at only after PyTorch has refused them, so that a call that succeeds
    takes no time for it. Of layers within a layer the outermost is named. What the user's own
    modules raise within it stays as it is.

    Args:
        forward: the method of a layer; the first line of its docstring has the shapes.

    Returns:
        The method, with the same signature.

    Raises:
        InputError: when it is called, the inputs do not fit the layer or each other.

    Example:
        >>> vitrail.layers.Mlp(8, 16)(torch.zeros(5, 9))
        Traceback (most recent call last):
        vitrail.ops.guard.InputError: Mlp: mat1 and mat2 shapes cannot be multiplied (5x9 and ...
    """

    @functools.wraps(forward)
    def call(self: nn.Module, *args: Any, **keywords: Any) -> Any:
        try:
            return forward(self, *args, **keywords)
        except PROBLEMS as problem:
            cause = problem.__cause__ if isinstance(problem, InputError) else problem
            if _is_own(problem) and (
                line := _explain_forward(cause, forward, self, args, keywords)
            ):
                raise line from cause
            raise

    return call  # type: ignore[return-value]


def _is_own(problem: Exception) -> bool:
    """Whether no module but Vitrail's and PyTorch's was running when it was raised."""
    frames = traceback.walk_tb(problem.__traceback__)
    return all(frame.f_code.co_filename.startswith(FOLDERS) for frame, _line in frames)


def _explain_forward(
    problem: BaseException | None,
    forward: Callable[..., Any],
    layer: nn.Module,
    args: tuple[Any, ...],
    keywords: dict[str, Any],
) -> InputError | None:
    """One line for an error of a layer's forward; None for one that is not about its inputs."""
    if problem is None or type(problem) not in _PLAIN_PROBLEMS or is_out_of_memory(problem):
        return None
    name = type(layer).__name__
    try:
        convert_arguments(forward, (layer, *args), keywords)
    except ConfigError as misfit:
        return InputError(misfit)
    values = inspect.signature(forward).bind(layer, *args, **keywords).arguments
    described = ", ".join(
        f"{key} {_describe(value)}" for key, value in values.items() if key != "self"
    )
    shapes = (forward.__doc__ or "").partition("\n")[0].rstrip(".")
    inputs = shapes if "→" in shapes else f"what help({forward.__qualname__}) says"
    if (weight := next(layer.parameters(), None)) is not None:
        inputs += f", in {weight.dtype}"
    text = str(problem).partition("\n")[0][:150].rstrip(".")
    return InputError(f"{name}: {text}, with {described}: it takes {inputs}.")


def _convert(
    function: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if torch.jit.is_tracing():  # type: ignore[attr-defined]  # sizes are tensors there
        return args, keywords
    bound = convert_arguments(function, args, keywords)
    return bound.args, bound.kwargs


def _explain(
    problem: Exception,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    keywords: dict[str, Any],
) -> ConfigError | None:
    """One line for an error; None for one that is not about the arguments."""
    frame = problem.__traceback__.tb_next if problem.__traceback__ else None
    name = name_of(function)
    if frame is None:  # the function was not entered
        convert_arguments(function, args, keywords)
    text = (str(problem) or type(problem).__name__).splitlines()[0]
    if type(problem) not in _PLAIN_PROBLEMS:
        return None  # of the user's own, of a device, or of a compiler
    if is_out_of_memory(problem) or any(sign in str(problem) for sign in MEMORY_SIGNS):
        return TooLargeError(
            f"{name} needs more memory than can be allocated: choose smaller sizes."
        )
    values = inspect.signature(function).bind(*args, **keywords).arguments
    described = ", ".join(
        f"{key} {_describe(value)}"
        for key, value in values.items()
        if key not in ("self", "args", "settings") and not isinstance(value, nn.Module | None)
    )
    return ConfigError(f"{name}: {text[:150].rstrip('.')}, with {described}: give what fits.")


_PLAIN_PROBLEMS = {
    TypeError, ValueError, IndexError, KeyError, RuntimeError, NotImplementedError,
    ZeroDivisionError, OverflowError, AttributeError, AssertionError, MemoryError,
}  # fmt: skip


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"of shape {tuple(value.shape)} and {value.dtype}"
    return describe_value(value)


def _anything(_value: Any) -> bool:
    return True


def _never(_value: Any) -> bool:
    return False


def _fits(hint: Any) -> Fits:
    """A quick test of a value: True where it fits as it is, False where that is not plain."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object, inspect.Parameter.empty):
        return _anything
    if origin is Annotated:
        if any(isinstance(limit, Unchecked) for limit in arguments[1:]):
            return _anything
        return _fits_limits(_fits(arguments[0]), arguments[1:])
    if origin in (Union, types.UnionType):
        alternatives = tuple(map(_fits, arguments))
        return lambda value: any(fits(value) for fits in alternatives)
    if origin is Literal:
        return lambda value: type(value) in (str, int) and value in arguments
    if origin is tuple:
        return _fits_tuple(arguments)
    if origin is Sequence:
        entry = _fits(arguments[0])
        return lambda value: type(value) in (list, tuple) and all(map(entry, value))
    if hint is None or hint is type(None):
        return lambda value: value is None
    if hint in (int, bool, str):
        return lambda value: type(value) is hint
    if hint is float:  # nan fits nothing
        return lambda value: type(value) in (int, float) and -MOST < value < MOST
    if hint is Tensor or (
        isinstance(hint, type) and issubclass(hint, nn.Module | tuple | torch.device)
    ):
        return lambda value: isinstance(value, hint)
    return _never


def _fits_limits(fits: Fits, limits: tuple[Any, ...]) -> Fits:
    limit = limits[0]
    if len(limits) > 1 or not isinstance(limit, Range):
        return lambda value: fits(value) and all(value in limit for limit in limits)
    return lambda value: fits(value) and value in limit


def _fits_tuple(hints: tuple[Any, ...]) -> Fits:
    entries = tuple(map(_fits, hints))
    if hints[-1] is Ellipsis:
        first = entries[0]
        return lambda value: isinstance(value, tuple) and all(map(first, value))

    def fits(value: Any) -> bool:
        if not isinstance(value, tuple) or len(value) != len(entries):
            return False
        return all(entry(of) for entry, of in zip(entries, value, strict=True))

    return fits
