"""Why training stopped before its end, and how to go on."""

import contextlib
import errno
import signal
from collections.abc import Iterator

import torch

from vitrail.errors import DataError, TrainingError
from vitrail.run_folder import RunFolder
from vitrail.train.checkpoint import last_checkpoint

GO_ON = "Go on by resume=True."
OUT_OF_MEMORY = "DefaultCPUAllocator"  # in torch's RuntimeError for the CPU


@contextlib.contextmanager
def catch_interrupt() -> Iterator[dict[str, bool]]:
    """Lets the current step finish after Ctrl-C or SIGTERM; a second Ctrl-C stops at once.

    Returns:
        A context manager that gives a dictionary whose "requested" says that a signal came.

    Example:
        >>> with catch_interrupt() as interrupt:
        ...     interrupt
        {'requested': False}
    """
    interrupt = {"requested": False}

    def handle(*_arguments: object) -> None:
        interrupt["requested"] = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, where signals do not arrive
        yield interrupt
        return
    try:
        yield interrupt
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def explain_stop(
    problem: BaseException, run: RunFolder, batch_size: int, accumulate: int
) -> TrainingError | None:
    """The error that says what stopped training, which checkpoint there is and how to go on.

    Args:
        problem: what was raised.
        run: folder of the run.
        batch_size: samples per batch.
        accumulate: batches per step.

    Returns:
        The error; None for a problem with no cure that is known.

    Example:
        >>> print(explain_stop(KeyboardInterrupt(), RunFolder("nowhere"), 8, 1))
        stopped; there is no checkpoint yet. Go on by resume=True.
    """
    reason = _reason(problem, batch_size, accumulate)
    if reason is None:
        return None
    what, cure = reason
    return TrainingError(f"{what}; {last_checkpoint(run)} {cure} {GO_ON}".replace("  ", " "))


def _reason(problem: BaseException, batch_size: int, accumulate: int) -> tuple[str, str] | None:
    """What has happened, and what to do about it."""
    text = str(problem)
    if isinstance(problem, KeyboardInterrupt):
        return "stopped", ""
    if isinstance(problem, DataError):  # a worker's text ends with the message, after a traceback
        message = text.rpartition(f"{DataError.__name__}: ")[2].strip()
        return message.rstrip("."), "Put the sample back."
    if isinstance(problem, OSError):
        return ("the disk is full", "Make room.") if problem.errno == errno.ENOSPC else None
    if "DataLoader worker" in text and "killed" in text:
        return "a process that reads samples was killed", "Lower data.workers."
    if isinstance(problem, torch.OutOfMemoryError | MemoryError) or OUT_OF_MEMORY in text:
        cure = "Take a smaller model."
        if batch_size > 1:
            halves = f"data.batch_size={batch_size // 2} optim.accumulate={2 * accumulate}"
            cure = f"Learn from halves of it by {halves}."
        return f"a batch of {batch_size} does not fit into memory", cure
    return None
