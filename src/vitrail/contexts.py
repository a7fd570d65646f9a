"""Context managers that may be entered more than once."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Generic, ParamSpec, TypeVar

from vitrail.errors import ConfigError

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


class Reusable(contextlib.ContextDecorator, Generic[Value]):
    """A context manager that begins anew each time it is entered, also within itself.

    Args:
        begin: function without arguments that returns a context manager for one time.

    Example:
        >>> context = Reusable(lambda: contextlib.nullcontext([]))
        >>> with context as outer, context as inner:
        ...     outer is inner
        False
    """

    def __init__(self, begin: Callable[[], AbstractContextManager[Value]]) -> None:
        self._begin = begin
        self._entered: list[AbstractContextManager[Value]] = []

    def __enter__(self) -> Value:
        context = self._begin()
        value = context.__enter__()
        self._entered.append(context)
        return value

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        where: TracebackType | None,
    ) -> bool | None:
        if not self._entered:
            raise ConfigError("this context ends before it began: use it by `with`.")
        return self._entered.pop().__exit__(kind, problem, where)


def reusable(
    function: Callable[Arguments, Iterator[Value]],
) -> Callable[Arguments, Reusable[Value]]:
    """`contextlib.contextmanager`, whose contexts may be entered more than once.

    Args:
        function: generator function that yields once.

    Returns:
        A function with the same arguments that returns a `Reusable`.

    Example:
        >>> @reusable
        ... def numbers():
        ...     yield []
        >>> context = numbers()
        >>> with context as outer, context as inner:
        ...     outer is inner
        False
    """
    once = contextlib.contextmanager(function)

    @functools.wraps(function)
    def call(*args: Arguments.args, **keywords: Arguments.kwargs) -> Reusable[Value]:
        return Reusable(lambda: once(*args, **keywords))

    return call
