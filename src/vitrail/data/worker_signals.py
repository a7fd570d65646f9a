"""Signals that reach the processes that read samples."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def holding_signals() -> Iterator[None]:
    """Holds SIGTERM back while workers start: they start so, and none dies before it has set up.

    Returns:
        A context manager.

    Example:
        >>> with holding_signals():
        ...     signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        True
    """
    if not hasattr(signal, "pthread_sigmask"):  # as on Windows
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def outlive_signals(_worker: int) -> None:
    """Lets a worker go on where a signal reaches all processes: the trainer finishes its step.

    Only the trainer's own SIGTERM ends it.

    Args:
        _worker: number of the worker.

    Example:
        >>> from vitrail.data.loader import Loader  # its workers call it
        >>> callable(outlive_signals)
        True
    """
    if not hasattr(signal, "sigwaitinfo"):  # as on macOS and Windows
        return
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)  # private: documented; `sys.exit` would end this thread only
