"""The decorator of numba kernels. It needs numba: only backends that do import it."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

from numba import njit

from vitrail.ops._simd import FAST


def jit(function: Callable[..., Any]) -> Any:
    """Compiles a kernel at its first call, without Python's global lock.

    The compiled kernel is cached on disk: beside this package, or in the user's cache directory.
    """
    options: dict[str, Any] = {"fastmath": FAST, "error_model": "numpy", "nogil": True}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no directory to write to
        _warn_of_compiling()
        return njit(**options)(function)


@functools.cache
def _warn_of_compiling() -> None:
    """Warns once, not once per kernel."""
    warnings.warn(
        "numba has no directory to cache its kernels in, so every process compiles them anew, "
        "which takes seconds: set NUMBA_CACHE_DIR to a directory that can be written.",
        RuntimeWarning,
        stacklevel=3,
    )
