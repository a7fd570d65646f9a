"""Bounds on the size of a model, so that a number with too many digits ends in one line."""

import contextlib
import math
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from vitrail.errors import ConfigError
from vitrail.ops.guard import MEMORY_SIGNS

LARGEST = 2**24  # of any whole number that a constructor takes
DEEPEST = 10_000  # layers


def check_sizes(keywords: Mapping[str, Any]) -> None:
    """Checks that whole numbers are none that no model can have, before anything is built.

    Args:
        keywords: arguments of a constructor by name.

    Raises:
        ConfigError: a number is above `LARGEST`, or a depth above `DEEPEST`.

    Example:
        >>> check_sizes({"dim": 10**12})
        Traceback (most recent call last):
        vitrail.errors.ConfigError: dim=1000000000000 is above 16777216, the largest size ...
    """
    for name, value in keywords.items():
        limit = DEEPEST if name.endswith("depth") else LARGEST
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, int) and number > limit:
                raise ConfigError(
                    f"{name}={value} is above {limit}, the largest size that a model is built with."
                )


@contextlib.contextmanager
def within_memory(what: str, *, meta: bool = False) -> Iterator[None]:
    """A context in which a model is built, which ends when its parameters exceed the memory.

    Parameters are counted as modules register them, before anything is written to them.

    Args:
        what: what is built, for the error.
        meta: whether parameters on the meta device count, because they will get values.

    Returns:
        A context manager.

    Raises:
        ConfigError: the parameters are larger than this machine's memory, or PyTorch cannot
            allocate them.

    Example:
        >>> with within_memory("this layer", meta=True), torch.device("meta"):
        ...     nn.Linear(10**8, 10**8)
        Traceback (most recent call last):
        vitrail.errors.ConfigError: this layer needs more than 40,000,000 GB of memory...
    """
    memory, thread, total = _memory(), threading.get_ident(), 0

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal total
        if parameter is None or thread != threading.get_ident():
            return
        if parameter.device.type == "cpu" or (meta and parameter.is_meta):
            total += parameter.nbytes
        if total > memory:
            raise ConfigError(
                f"{what} needs more than {total / 1e9:,.0f} GB of memory, and this machine has "
                f"{memory / 1e9:,.0f} GB: choose smaller sizes."
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except (RuntimeError, TypeError, OverflowError, MemoryError) as problem:
        if isinstance(problem, MemoryError) or any(sign in str(problem) for sign in MEMORY_SIGNS):
            raise ConfigError(
                f"{what} needs more memory than can be allocated: choose smaller sizes."
            ) from problem
        raise
    finally:
        hook.remove()


def _memory() -> float:
    """Bytes of memory of this machine; infinity where it cannot be asked."""
    if not hasattr(os, "sysconf"):
        return math.inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
