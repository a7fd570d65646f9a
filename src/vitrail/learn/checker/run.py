"""Checks a learner's file in a process of its own, with limits."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from vitrail.errors import ConfigError
from vitrail.learn.checker.limits import LARGEST_FILE, WALL_SECONDS
from vitrail.learn.checker.verdict import Report, Row
from vitrail.learn.lesson import Lesson
from vitrail.messages import _

WAIT = WALL_SECONDS + 20  # seconds, the start of Python with torch included
MOST_OUTPUT = 4000  # characters of what a file prints


def check_file(lesson: Lesson, path: Path, seed: int | None = None) -> Report:
    """Checks a file.

    Args:
        lesson: the lesson.
        path: the learner's file.
        seed: of weights and inputs; None for others at every check.

    Returns:
        The report.

    Raises:
        ConfigError: the file cannot be read.

    Example:
        >>> check_file.__name__
        'check_file'
    """
    path = path.resolve()
    if not path.is_file():
        raise ConfigError(f"{path} is no file: `vitrail learn reset {lesson.name}` writes it anew.")
    token = secrets.token_hex(16)
    job = {
        "lesson": str(lesson.folder), "path": str(path), "token": token,
        "seed": secrets.randbelow(2**31) if seed is None else seed,
    }  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-P", "-m", "vitrail.learn.checker.worker"]
    with tempfile.TemporaryFile() as prints:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=prints,
            env=environment, cwd=path.parent, start_new_session=True,
        )  # fmt: skip
        try:
            answer, _errors = process.communicate(json.dumps(job).encode() + b"\n", timeout=WAIT)
        except subprocess.TimeoutExpired:
            answer = b""
        finally:
            _end(process)
        prints.seek(0)
        output = prints.read(LARGEST_FILE).decode("utf-8", "replace")[-MOST_OUTPUT:]
    return read_answer(lesson, answer, token, process.returncode, output)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the process and those that it started."""
    if process.poll() is None:
        process.kill()
    process.wait()
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def read_answer(lesson: Lesson, answer: bytes, token: str, code: int, output: str) -> Report:
    """The report of a process that ended.

    Args:
        lesson: the lesson.
        answer: what it wrote.
        token: what its report must hold.
        code: exit code.
        output: what the learner's code printed.

    Returns:
        The report; a process that ended without one has failed.

    Example:
        >>> from vitrail.learn.course import find_lesson
        >>> read_answer(find_lesson("attention"), b"", "t", 0, "").passed
        False
    """
    values: dict[str, Any] = {}
    with contextlib.suppress(ValueError, IndexError):
        values = json.loads(answer.decode("utf-8").splitlines()[-1])
    if values.pop("token", None) == token:
        rows = tuple(Row(**row) for row in values.pop("walk"))
        tuples = {key: tuple(values.pop(key)) for key in ("mistakes", "diagnosis")}
        return Report(**{**values, **tuples, "walk": rows, "output": output})
    if code < 0:
        message = _("your code was stopped: it ran too long or took too much memory.")
    elif code == 0:
        message = _("your code ended the process before it was checked (os._exit?).")
    else:
        message = _("the check ended with code {code}.").format(code=code)
    return Report(lesson.id, False, stage="import", message=message, output=output)
