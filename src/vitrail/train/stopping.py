"""Why training stopped before its end, and how to go on."""

import contextlib
import signal
import time
import traceback
from collections.abc import Iterator, Sequence

from torch import distributed

from vitrail.errors import DataError, NotFiniteError, TrainingError, TrainingStopped
from vitrail.files import describe_fault
from vitrail.memory import is_out_of_memory
from vitrail.methods.base import Batch
from vitrail.run_folder import RunFolder
from vitrail.train.checkpoint import last_checkpoint

METHODS = "vitrail.methods."
GO_ON = "Go on by resume=True."
GLOO = "gloo/transport"  # in torch's RuntimeError for a process that does not answer
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
STOPS = (KeyboardInterrupt, DataError, OSError, EOFError, RuntimeError, MemoryError)
SAME_SECONDS = 1.0  # a launcher and the batch system above it may both send the same signal


class Interrupt:
    """Whether a signal asked training to stop.

    Attributes:
        number: of the signal that came first; 0 for none.

    Example:
        >>> Interrupt().number
        0
    """

    def __init__(self) -> None:
        self.number = 0
        self._time = 0.0

    def __call__(self, number: int, _frame: object) -> None:
        """Handles a signal: the first one is noted, a later one stops at once."""
        now = time.monotonic()
        if not self.number:
            self.number, self._time = number, now
        elif now - self._time > SAME_SECONDS:
            raise KeyboardInterrupt(self.number)


@contextlib.contextmanager
def catch_interrupt() -> Iterator[Interrupt]:
    """Lets the current step finish after Ctrl-C, SIGTERM or SIGHUP; a second signal stops at once.

    A signal that the process was started to ignore, as by nohup, stays ignored.

    Returns:
        A context manager that gives the `Interrupt`.

    Example:
        >>> with catch_interrupt() as interrupt:
        ...     interrupt.number
        0
    """
    interrupt, old = Interrupt(), {}
    try:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                old[number] = signal.signal(number, interrupt)
    except ValueError:  # not in the main thread, where signals do not arrive
        pass
    try:
        yield interrupt
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def explaining_stops(
    run: RunFolder, batch_size: int, accumulate: int, bound: Sequence[str] = ()
) -> Iterator[None]:
    """A context in which what stops training becomes the error of `explain_stop`.

    Args:
        run: folder of the run.
        batch_size: samples per batch.
        accumulate: batches per step.
        bound: why smaller batches, accumulated, are not the same as larger ones.

    Returns:
        A context manager.

    Raises:
        TrainingError: something stopped training that `explain_stop` knows.

    Example:
        >>> with explaining_stops(RunFolder("nowhere"), 8, 1):
        ...     raise KeyboardInterrupt
        Traceback (most recent call last):
        vitrail.errors.TrainingError: stopped; there is no checkpoint yet. Go on by resume=True.
    """
    try:
        yield
    except STOPS as problem:
        try:
            error = explain_stop(problem, run, batch_size, accumulate, bound)
        except RuntimeError as later:  # torch raises at any moment when a worker has died
            error = explain_stop(later, run, batch_size, accumulate, bound)
        if error is None:
            raise
        raise error from None


def explain_stop(
    problem: BaseException,
    run: RunFolder,
    batch_size: int,
    accumulate: int,
    bound: Sequence[str] = (),
) -> TrainingError | None:
    """The error that says what stopped training, which checkpoint there is and how to go on.

    Args:
        problem: what was raised.
        run: folder of the run.
        batch_size: samples per batch.
        accumulate: batches per step.
        bound: why smaller batches, accumulated, are not the same as larger ones.

    Returns:
        The error with its cure; None for problems of other kinds.

    Example:
        >>> print(explain_stop(KeyboardInterrupt(), RunFolder("nowhere"), 8, 1))
        stopped; there is no checkpoint yet. Go on by resume=True.
    """
    reason = _reason(problem, batch_size, accumulate, bound)
    if reason is None:
        return None
    what, cure = reason
    number = problem.args[0] if isinstance(problem, KeyboardInterrupt) and problem.args else 0
    kind = TrainingStopped if number in SIGNALS[1:] else TrainingError
    return kind(f"{what}; {last_checkpoint(run)} {cure} {GO_ON}".replace("  ", " "))


def explain_not_finite(
    what: str, run: RunFolder, lr: float, batches: Sequence[Batch] = ()
) -> NotFiniteError:
    """The error that says what is not finite, and how to go on.

    Args:
        what: the problem.
        run: folder of the run.
        lr: largest learning rate of the schedule.
        batches: of the step, if they are known.

    Returns:
        The error.

    Example:
        >>> print(explain_not_finite("the loss is NaN", RunFolder("nowhere"), 0.1))
        the loss is NaN; there is no checkpoint yet. Lower the learning rate (now 0.1) or ...
    """
    for batch in batches:
        for name in batch.names():
            values = batch.crops if name == "crops" else (batch[name],)
            if not all(bool(value.isfinite().all()) for value in values):
                return NotFiniteError(
                    f"{what}, for {name} of its batch are not: leave such samples out, or set "
                    f"train.on_nan=skip; {last_checkpoint(run)} {GO_ON}"
                )
    return NotFiniteError(
        f"{what}; {last_checkpoint(run)} Lower the learning rate (now {lr:g}) or lengthen the "
        f"warm-up. {GO_ON}"
    )


def _is_of_method(problem: BaseException) -> bool:
    """Whether a method refused a batch that was read well; the message then has its own cure."""
    frames = traceback.walk_tb(problem.__traceback__)
    return any(frame.f_globals.get("__name__", "").startswith(METHODS) for frame, _line in frames)


def _reason(
    problem: BaseException, batch_size: int, accumulate: int, bound: Sequence[str]
) -> tuple[str, str] | None:
    """What has happened, and what to do about it."""
    text = str(problem)
    if isinstance(problem, KeyboardInterrupt):
        return "stopped", ""
    if isinstance(problem, DataError):  # a worker's text ends with the message, after a traceback
        message = text.rpartition(f"{DataError.__name__}: ")[2].strip()
        return message.rstrip("."), "" if _is_of_method(problem) else "Put the sample back."
    if isinstance(problem, (ConnectionError, EOFError)):
        cure = "Lower data.workers, or check the network if data come from a server."
        return "a process that reads samples, or a server, has closed its connection", cure
    if isinstance(problem, OSError):
        return describe_fault(problem)
    if isinstance(problem, distributed.DistError) or GLOO in text:
        return "another process has stopped", "What stopped it stands above or in its log."
    if "DataLoader worker" in text:
        return "a process that reads samples was killed", "Lower data.workers."
    if "DataLoader timed out" in text:
        cure = "Check the disk or the network drive."
        return "a process that reads samples does not answer", cure
    if is_out_of_memory(problem):
        cure = "Take a smaller model."
        if batch_size > 1:
            halves = f"data.batch_size={batch_size // 2} optim.accumulate={2 * accumulate}"
            cure = f"Learn from halves of it by {halves}"
            cure += f", which is not the same: {', and '.join(bound)}." if bound else "."
        return f"a batch of {batch_size} does not fit into memory", cure
    return None
