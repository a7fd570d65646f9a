"""How the processes that read samples end, and which signals they outlive."""

import contextlib
import os
import signal
import threading
import weakref
from collections.abc import Iterator
from typing import Any

_ended_with = weakref.WeakSet[Any]()  # iterators of a DataLoader that `end_with` has seen


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


def end_with(batches: Any) -> None:
    """Ends the processes that read samples where nothing uses their batches any more.

    PyTorch tells them when the iterator is deleted. In a cycle, as after an error, the queues to
    them are closed before that, and it waits five seconds for each process.

    Args:
        batches: iterator of a DataLoader with workers; it may come again.

    Example:
        >>> from vitrail.data.loader import Loader  # calls it
        >>> callable(end_with)
        True
    """
    if batches not in _ended_with:
        _ended_with.add(batches)
        # private: PyTorch has no public name for either. Without them an error keeps the processes
        # (tests/data/test_loader.py).
        queues, done = batches._index_queues, batches._workers_done_event
        weakref.finalize(batches, _tell_the_end, queues, done).atexit = False


def _tell_the_end(queues: list[Any], done: Any) -> None:
    done.set()
    for queue in queues:
        with contextlib.suppress(ValueError):  # PyTorch has closed it itself
            queue.put(None)


def _exit_with_parent(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)  # private: documented; `sys.exit` would end this thread only
