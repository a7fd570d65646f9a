"""What every hostile input must end in: one line, soon, in little memory, and nothing run."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from vitrail.errors import VitrailError

SECONDS, MEBIBYTES = 0.1, 64.0  # as SECURITY.md promises
YARDSTICK = 0.03  # seconds that `_plain_work` takes on the processor of docs/reliability.md
SECRET = "the secret of another folder"
PROCESS = Path("/proc/self")


class Cost(NamedTuple):
    """What a hostile input took: seconds of the processor, and MiB above what there was."""

    seconds: float
    mebibytes: float


COSTS: list[Cost] = []  # of every outcome in this process, for the evidence


def outcome(action: Callable[[], Any]) -> VitrailError | None:
    """The one-line error of an action; None if it succeeded. Whatever else it raises is a fault."""
    costs = []
    for _attempt in range(2):  # the first may import something
        error: VitrailError | None = None
        before = _start_measuring()
        start = time.process_time()
        try:
            action()
        except VitrailError as problem:
            error = problem
        costs.append(Cost(time.process_time() - start, (_memory("VmHWM") - before) / 2**20))
        if costs[-1].seconds < SECONDS and costs[-1].mebibytes < MEBIBYTES:
            break
    COSTS.append(costs[-1])
    text = str(error)
    assert "\n" not in text, text
    assert "\x1b" not in text, text
    assert SECRET not in text, text
    if costs[-1].seconds >= SECONDS:  # a slower processor is slower at everything
        assert costs[-1].seconds < SECONDS * _plain_work() / YARDSTICK, costs
    assert costs[-1].mebibytes < MEBIBYTES, costs
    return error


def _plain_work() -> float:
    """Seconds of the processor that a piece of work takes which has nothing to do with refusals."""
    start = time.process_time()
    json.loads(json.dumps([{"number": i, "texts": [str(i)]} for i in range(20_000)]))
    return time.process_time() - start


def _start_measuring() -> int:
    """Forgets the largest memory so far; returns that of now."""
    with contextlib.suppress(OSError):  # only Linux can
        (PROCESS / "clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(kind: str) -> int:
    """Bytes of this process, now or at most; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        for line in (PROCESS / "status").read_text().splitlines():
            if line.startswith(kind):
                return int(line.split()[1]) * 1024
    return 0


def canary(folder: Path) -> tuple[Path, str]:
    """A file that hostile code would make, and the shell command that makes it."""
    file = folder / "executed"
    return file, f"touch {file}"
