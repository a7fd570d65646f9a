"""A thread pool for kernels that release Python's global lock.

numba's own threading crashes where data loaders fork and where several Python threads compute at
once. This pool is started anew in a forked child, and any number of threads may use it.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch

_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _reset() -> None:
    """Runs in a forked child, which has neither the parent's threads nor the lock's owner."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)


def _threads() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "vitrail")
        return _pool


def run_tasks(kernel: Callable[..., Any], tasks: int, *arguments: Any) -> None:
    """Shares the tasks of a kernel among as many threads as torch has.

    Args:
        kernel: function called as kernel(start, stop, *arguments), for tasks start to stop - 1.
        tasks: number of tasks.
        arguments: further arguments of the kernel.

    Example:
        >>> squares = [0] * 8
        >>> def kernel(start, stop, base):
        ...     squares[start:stop] = [base * i for i in range(start, stop)]
        >>> run_tasks(kernel, 8, 2)
        >>> squares
        [0, 2, 4, 6, 8, 10, 12, 14]
    """
    threads = min(torch.get_num_threads(), tasks)
    if threads < 2:
        kernel(0, tasks, *arguments)
        return
    pieces = min(tasks, 4 * threads)  # more than threads, which do not all run at one speed
    edges = [tasks * i // pieces for i in range(pieces + 1)]
    remaining, lock = iter(range(pieces)), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                piece = next(remaining, None)
            if piece is None:
                return
            kernel(edges[piece], edges[piece + 1], *arguments)

    helpers = [_threads().submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        # Kernels hold addresses of the caller's tensors, so none may outlive this call. A helper
        # that has not started yet, because other callers use the pool, has no pieces to compute.
        started = [helper for helper in helpers if not helper.cancel()]
        wait(started)
    for helper in started:
        helper.result()
