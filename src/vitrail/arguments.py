"""The check of the arguments of functions against their annotations."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from vitrail.errors import ConfigError, suggest
from vitrail.values import check_value

if TYPE_CHECKING:
    from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


class Axes:
    """The numbers of axes that a tensor may have, none of them empty, as metadata of `Annotated`.

    Args:
        *counts: the numbers of axes.

    Example:
        >>> torch.zeros(3, 8, 8) in Axes(3), torch.zeros(0, 8, 8) in Axes(3)
        (True, False)
        >>> Axes(3, 4)
        3 or 4 axes with real values, none of them empty
    """

    def __init__(self, *counts: int) -> None:
        self.counts = counts

    def __contains__(self, tensor: "Tensor") -> bool:
        whole = tensor.ndim in self.counts and tensor.numel() > 0
        return whole and not tensor.is_meta and not tensor.is_complex()

    def __repr__(self) -> str:
        return f"{' or '.join(map(str, self.counts))} axes with real values, none of them empty"


def checked(function: Function) -> Function:
    """A function that checks its arguments against its annotations when it is called.

    A user calls a function with what is at hand: a path in the place of a model, an array in the
    place of a tensor, text in the place of a list. The function itself then only checks what its
    annotations do not say.

    Args:
        function: a function, or a constructor.

    Returns:
        The function. It is called with values as `convert_value` returns them.

    Raises:
        ConfigError: when the function is called, a keyword is unknown or missing, or a value is not
            what its annotation allows.

    Example:
        >>> @checked
        ... def crop(size: int, names: list[str]) -> int:
        ...     return size
        >>> crop(8, "cat")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: crop: names='cat' is not a list with each entry a string.
    """

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        signature, hints = _signature(function)
        try:
            bound = signature.bind(*args, **keywords)
        except TypeError as problem:
            raise ConfigError(_describe(problem, function, signature, keywords)) from None
        for name, value in bound.arguments.items():
            if name in hints:
                try:
                    bound.arguments[name] = check_value(name, value, hints[name])
                except ConfigError as problem:
                    raise ConfigError(f"{_name(function)}: {problem}") from None
        return function(*bound.args, **bound.kwargs)

    return call  # type: ignore[return-value]


@functools.cache
def _signature(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """The signature, and the annotations of its named parameters that can be read."""
    signature = inspect.signature(function)
    hints = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint = parameter.annotation
        if hint is parameter.empty or name == "self":
            continue
        hints[name] = hint
    return signature, hints


def _name(function: Callable[..., Any]) -> str:
    return function.__qualname__.removesuffix(".__init__").rpartition("<locals>.")[2]


def _describe(
    problem: TypeError,
    function: Callable[..., Any],
    signature: inspect.Signature,
    keywords: dict[str, Any],
) -> str:
    """What is wrong with the keywords of a call."""
    names = [name for name in signature.parameters if name != "self"]
    for keyword in keywords:
        if keyword not in names:
            return (
                f"{_name(function)} has no keyword {keyword!r}.{suggest(keyword, names)} It takes: "
                f"{', '.join(names)}."
            )
    return f"{_name(function)}: {problem}. help({_name(function)}) says what each argument is."
