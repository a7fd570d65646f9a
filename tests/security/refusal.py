"""What every hostile input must end in: one line, soon, and nothing run."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitrail.errors import VitrailError

SECONDS = 0.1
SECRET = "the secret of another folder"


def outcome(action: Callable[[], Any]) -> VitrailError | None:
    """The one-line error of an action; None if it succeeded. Whatever else it raises is a fault."""
    seconds = []
    for _attempt in range(2):  # the first may import something
        error: VitrailError | None = None
        start = time.process_time()
        try:
            action()
        except VitrailError as problem:
            error = problem
        seconds.append(time.process_time() - start)
    text = str(error)
    assert "\n" not in text, text
    assert "\x1b" not in text, text
    assert SECRET not in text, text
    assert min(seconds) < SECONDS, seconds
    return error


def canary(folder: Path) -> tuple[Path, str]:
    """A file that hostile code would make, and the shell command that makes it."""
    file = folder / "executed"
    return file, f"touch {file}"
