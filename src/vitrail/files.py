"""Atomic writing: a file is written under a temporary name, synced to disk and then renamed."""

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from vitrail.errors import ConfigError

CURES = {
    errno.ENOSPC: "Make room.",
    errno.EDQUOT: "Make room.",
    errno.EACCES: "Allow reading and writing there.",
    errno.EPERM: "Allow reading and writing there.",
    errno.EROFS: "Allow writing there.",
    errno.EIO: "Check the disk or the network drive.",
    errno.ESTALE: "Check the network drive.",
}

Result = TypeVar("Result")
TEMPORARY, OLD = ".vitrail-writing", ".vitrail-old"  # names that no user gives


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Writes a file so that a crash at any moment leaves the old content or the new.

    Args:
        path: the file; its folder is created.
        data: the content; text is encoded as UTF-8.

    Raises:
        ConfigError: the path names no file in a folder, as "." and "" do not.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> atomic_write(path, "text")
        >>> path.read_text()
        'text'
    """
    path = _with_name(path)
    make_folder(path.parent)
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with open(temporary, "wb") as file:
            # Names of files need not be UTF-8; their bytes are written as they are.
            content = data.encode(errors="surrogateescape") if isinstance(data, str) else data
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def check_absent(path: Path, overwrite: bool) -> None:
    """Checks that a file that is there is replaced only where that was asked for.

    Args:
        path: the file to write.
        overwrite: whether it may be there.

    Raises:
        ConfigError: it is there.

    Example:
        >>> check_absent(Path("no such file"), overwrite=False)
    """
    if os.path.lexists(path) and not overwrite:
        raise ConfigError(f"{path} exists: choose another name, or replace it by overwrite=True.")


def check_writable(path: Path) -> None:
    """Checks that a folder can be made or written to, before anything is computed.

    Args:
        path: the folder, which need not exist.

    Raises:
        ConfigError: it, or the nearest one above that exists, is no folder or is read-only.

    Example:
        >>> check_writable(Path("no such folder"))
    """
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise ConfigError(f"{there} is no folder: choose another name.")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"{there} may not be written to: choose another folder.")


def make_folder(path: Path) -> None:
    """Makes a folder and those that it is in, and puts their entries on disk.

    Args:
        path: the folder; it may exist.

    Raises:
        ConfigError: the path, or one before it, is something else.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "runs" / "first"
        >>> make_folder(path)
        >>> path.is_dir()
        True
    """
    if path.is_dir():
        return
    if os.path.lexists(path):  # a file, a pipe, a link that leads nowhere
        raise ConfigError(f"{path} is no folder: choose another name.")
    if path.parent != path:
        make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A context to fill a temporary folder, which becomes `path` if no exception is raised.

    An existing folder is renamed first and deleted last, so a whole folder exists at any moment,
    under `path` or beside it. Its files of other names than the new ones stay: they may be a
    user's.

    Args:
        path: the folder to write or to replace.

    Returns:
        A context manager that gives the temporary folder.

    Raises:
        ConfigError: the path names no folder in another, as "." and "" do not.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "folder"
        >>> with atomic_folder(path) as temporary:
        ...     _ = (temporary / "a.txt").write_text("text")
        >>> [file.name for file in path.iterdir()]
        ['a.txt']
    """
    path = _with_name(path)
    make_folder(path.parent)
    temporary = path.with_name(path.name + TEMPORARY)
    old = path.with_name(path.name + OLD)
    if old.exists():
        if not path.exists():  # a crash fell between the two renames below
            os.replace(old, path)
        else:  # or after them
            _merge(old, path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        # All at once, so that the file system writes its journal for them together.
        with ThreadPoolExecutor(4) as pool:
            paths = [*sorted(temporary.rglob("*")), temporary]
            for task in [submit(pool, sync, path) for path in paths]:
                task.result()
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(temporary, path)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists():
            os.replace(old, path)
        raise
    sync(path.parent)
    if old.exists():
        _merge(old, path)


def to_json(
    value: object, indent: int | None = None, default: Callable[[Any], Any] | None = None
) -> str:
    """JSON as people read it, that is UTF-8 whatever its texts are.

    Python's names of files that are no UTF-8 hold halves of pairs, which JSON can only escape.

    Args:
        value: nested lists and dictionaries of plain values.
        indent: spaces per level; None for one line.
        default: function that makes a plain value of another.

    Returns:
        The text.

    Example:
        >>> print(to_json(["猫", "dog\\udcff"]))
        ["猫", "dog\\udcff"]
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=default)
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def describe_fault(problem: OSError) -> tuple[str, str]:
    """What a file system refused, and what helps.

    Args:
        problem: what was raised.

    Returns:
        Part of a sentence, and a sentence, "" where no cure is known.

    Example:
        >>> describe_fault(OSError(errno.EIO, "Input/output error", "a.txt"))
        ('a.txt: Input/output error', 'Check the disk or the network drive.')
    """
    reason = problem.strerror or str(problem)
    if problem.filename is not None:
        reason = f"{problem.filename}: {reason}"
    return reason, CURES.get(problem.errno or 0, "")


def _with_name(path: str | Path) -> Path:
    """A path that ends in a name, which a temporary name can be made of."""
    path = Path(path)
    if path.name in ("", ".."):
        raise ConfigError(
            f"{path} is not written as a whole: name one in it, such as {path}/model."
        )
    return path


def _merge(old: Path, new: Path) -> None:
    """Deletes a replaced folder, but for what its successor does not have."""
    for entry in old.iterdir():
        if not os.path.lexists(new / entry.name):
            os.replace(entry, new / entry.name)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Asks the system to put a file or the entries of a folder on disk.

    Args:
        path: the file or folder. Folders cannot be opened on Windows, where nothing is done.

    Example:
        >>> import tempfile
        >>> sync(Path(tempfile.mkdtemp()))
    """
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def submit(
    pool: ThreadPoolExecutor, function: Callable[..., Result], *arguments: Any
) -> "Future[Result]":
    """Calls a function in a thread of a pool, or here where the system gives no more threads.

    Args:
        pool: the threads.
        function: what to call.
        arguments: of the function.

    Returns:
        What the function will have returned.

    Example:
        >>> with ThreadPoolExecutor(1) as pool:
        ...     submit(pool, abs, -2).result()
        2
    """
    try:
        return pool.submit(function, *arguments)
    except RuntimeError:  # "can't start new thread": memory is short
        result: Future[Result] = Future()
        result.set_result(function(*arguments))
        return result
