"""The manifest of a folder: the sha256 of each of its files, by which damage is noticed.

`manifest.json` stands beside the files. A folder without one, of an older Vitrail or of another
library, is read as it is.
"""

import contextlib
import errno
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

from vitrail.errors import DamagedError
from vitrail.files import atomic_folder, submit, sync

MANIFEST = "manifest.json"
_trusted: ContextVar[bool] = ContextVar("trusted", default=False)


class FolderWriter:
    """Writes the files of a folder, and meanwhile hashes them and puts them on disk.

    A disk that is busy with a file leaves the processor free to hash it, and to write the next one.

    Args:
        path: the folder.

    Example:
        >>> import tempfile
        >>> writer = FolderWriter(Path(tempfile.mkdtemp()))
        >>> writer.write("a.txt", "text")
        >>> writer.hashes["a.txt"][:8]
        '982d9e3e'
    """

    def __init__(self, path: Path) -> None:
        self.path, self._hashes = path, dict[str, str]()
        self._pool, self._running = ThreadPoolExecutor(4), dict[str, Future[str]]()
        self._syncs = list[Future[None]]()

    def write(self, name: str, data: bytes | str | Sequence[memoryview]) -> None:
        """Writes a file. It is on disk when `hashes` are known.

        Args:
            name: its name.
            data: its content, or the parts of it; text is encoded as UTF-8.
        """
        content = data.encode() if isinstance(data, str) else data
        parts = [content] if isinstance(content, bytes) else content
        self._running[name] = submit(self._pool, _sha256, parts)
        with open(self.path / name, "wb") as file:
            for part in parts:
                file.write(part)
        self._syncs.append(submit(self._pool, sync, self.path / name))

    def add(self, name: str) -> None:
        """Hashes a file that something else has written.

        Args:
            name: its name.
        """
        self._hashes[name] = _sha256_of_file(self.path / name)

    @property
    def hashes(self) -> dict[str, str]:
        """The sha256 of each file by its name, to which those of others may be added."""
        for name in list(self._running):
            self._hashes[name] = self._running.pop(name).result()
        while self._syncs:
            self._syncs.pop().result()
        return self._hashes

    def close(self) -> None:
        """Ends the threads that hash."""
        self._pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def hashed_folder(path: str | Path) -> Iterator[FolderWriter]:
    """A context to write a folder with its manifest, which appears as a whole or not at all.

    Args:
        path: the folder to write or to replace.

    Returns:
        A context manager that gives a `FolderWriter`.

    Raises:
        ConfigError: the path names no folder in another, as "." and "" do not.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "folder"
        >>> with hashed_folder(path) as writer:
        ...     writer.write("a.txt", "text")
        >>> sorted(file.name for file in path.iterdir())
        ['a.txt', 'manifest.json']
    """
    with atomic_folder(path) as temporary:
        writer = FolderWriter(temporary)
        try:
            yield writer
            (temporary / MANIFEST).write_bytes(_encode(writer.hashes))
        finally:
            writer.close()


@contextlib.contextmanager
def trusting(trust: bool = True) -> Iterator[None]:
    """A context in which files are read although they are not as they were written.

    Args:
        trust: whether they are; False changes nothing.

    Returns:
        A context manager.

    Example:
        >>> with trusting():
        ...     check_manifest(Path("any folder"))
    """
    token = _trusted.set(trust or _trusted.get())
    try:
        yield
    finally:
        _trusted.reset(token)


def check_manifest(folder: Path) -> None:
    """Checks that the files of a folder are those that were written.

    Args:
        folder: the folder. Files that the manifest does not name are not looked at.

    Raises:
        DamagedError: a file, or the manifest itself, is not as it was written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "folder"
        >>> with hashed_folder(path) as writer:
        ...     writer.write("a.txt", "text")
        >>> _ = (path / "a.txt").write_text("test")
        >>> check_manifest(path)
        Traceback (most recent call last):
        vitrail.errors.DamagedError: .../folder/a.txt is damaged: its sha256 is not the one in ...
    """
    if _trusted.get():
        return
    manifest = folder / MANIFEST
    try:
        _check_regular(manifest)
        content = manifest.read_bytes()
    except FileNotFoundError:
        return
    except OSError as problem:
        raise DamagedError(f"{manifest} cannot be read ({problem.strerror}).") from None
    for name, digest in _decode(content, manifest).items():
        try:
            same = _sha256_of_file(folder / name) == digest
        except OSError as problem:
            raise DamagedError(f"{folder / name} cannot be read ({problem.strerror}).") from None
        if not same and not _is_pointer(folder / name):  # its reader says how to fetch it
            raise DamagedError(
                f"{folder / name} is damaged: its sha256 is not the one in {MANIFEST}. Copy the "
                f"folder again; if you changed the file, delete {MANIFEST} or give trust=True."
            )


def _is_pointer(file: Path) -> bool:
    """Whether Git left a pointer in the place of a large file."""
    with file.open("rb") as stream:
        return stream.read(24) == b"version https://git-lfs."


def _encode(hashes: dict[str, str]) -> bytes:
    return json.dumps({"sha256": hashes}, indent=1, sort_keys=True).encode()


def _decode(content: bytes, manifest: Path) -> dict[str, str]:
    """The hashes of a manifest, which must be the bytes that `_encode` writes."""
    damaged = DamagedError(
        f"{manifest} is damaged: copy the folder again, or delete the file or give trust=True."
    )
    try:
        hashes = json.loads(content)["sha256"]
        whole = isinstance(hashes, dict) and _encode(hashes) == content
    except (ValueError, LookupError, TypeError, RecursionError):
        raise damaged from None
    if not whole or any(Path(name).name != name or "\0" in name for name in hashes):
        raise damaged
    return hashes


def _sha256(parts: Sequence[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _check_regular(file: Path) -> None:
    """Raises `OSError` for a pipe or a device, which has no end."""
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")


def _sha256_of_file(file: Path) -> str:
    _check_regular(file)
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
