"""Signals that reach the processes that read samples."""

import os
import signal
import threading


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
