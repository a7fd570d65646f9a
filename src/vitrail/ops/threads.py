"""Threads for kernels that release Python's global lock.

numba's own threading dies where data loaders fork and where several Python threads compute at
once. This pool is started again in a forked child, and any number of threads may use it.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch

_pool: ThreadPoolExecutor | None = None
_making = threading.Lock()


def _forget() -> None:
    """In a forked child, where the parent's threads do not exist, nor who held the lock."""
    global _pool, _making
    _pool, _making = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _threads() -> ThreadPoolExecutor:
    global _pool
    with _making:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "vitrail")
        return _pool


def run(kernel: Callable[..., Any], tasks: int, *arguments: Any) -> None:
    """Calls kernel(start, stop, *arguments) over all tasks, by as many threads as torch has."""
    threads = min(torch.get_num_threads(), tasks)
    if threads < 2:
        kernel(0, tasks, *arguments)
        return
    pieces = min(tasks, 4 * threads)  # more than threads, because they do not all run at one speed
    edges = [tasks * i // pieces for i in range(pieces + 1)]
    left, taking = iter(range(pieces)), threading.Lock()

    def work() -> None:
        while True:
            with taking:
                piece = next(left, None)
            if piece is None:
                return
            kernel(edges[piece], edges[piece + 1], *arguments)

    helpers = [_threads().submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        # Kernels hold addresses of the caller's tensors, so none may outlive this call. One that
        # has not begun, because other callers keep the pool busy, has nothing left to do.
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()
