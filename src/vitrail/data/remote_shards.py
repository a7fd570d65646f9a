"""Tar shards on a server: copied to the user's cache folder once, and read there.

HTTP is spoken by Python itself. All other addresses, such as s3:// and gs://, are those of fsspec.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from vitrail.data.check import cache_folder
from vitrail.data.images import BadImage
from vitrail.data.shard_description import CLASSES, DESCRIPTION, read_beside
from vitrail.errors import DataError
from vitrail.files import atomic_write

TIMEOUT = 60  # seconds without an answer
RETRY_SECONDS = 1.0
AT_ONCE = 8  # files that are copied at the same time
CHUNK = 2**20  # bytes
LARGEST_LISTING = 2**24  # bytes of the page that lists a folder
ABSENT = "is not there"


class RemoteFile(NamedTuple):
    """A file on a server.

    Args:
        state: what changes when its content does; "" if the server does not say.
        size: its number of bytes; None if the server does not say.

    Example:
        >>> RemoteFile("etag", 9).size
        9
    """

    state: str
    size: int | None


def copy_shards(names: Sequence[str]) -> tuple[list[Path], list[BadImage]]:
    """Copies of the shards that addresses stand for. Those that are there already are kept.

    Args:
        names: addresses of tar files; patterns with `*`; or folders, whose tar files are those that
            their dataset.json lists, or else the server.

    Returns:
        Their copies in the cache folder, and which could not be had, after a second try.

    Raises:
        DataError: there are none, or an address is none.

    Example:
        >>> copy_shards(["http://localhost:1/photos/0.tar"])[1][0].name
        'http://localhost:1/photos/0.tar'
    """
    addresses = list(dict.fromkeys(one for name in names for one in _expand(name)))
    if not addresses:
        raise DataError(
            f"no tar files at {names[0]!r}: name them, as .../train-{{000..127}}.tar, or put the "
            "dataset.json of `vitrail pack` beside them."
        )
    folder = addresses[0].rpartition("/")[0]
    beside = [f"{folder}/{name}" for name in (DESCRIPTION, CLASSES)]
    copies = [_copy_path(address) for address in addresses]
    absent = sum(not copy.is_file() for copy in copies)
    if absent:
        sys.stderr.write(f"copying {absent} shards to {copies[0].parent}\n")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        reasons = list(pool.map(_fetch, addresses))
        for address, reason in zip(beside, pool.map(_fetch, beside), strict=True):
            if reason == ABSENT:
                _copy_path(address).unlink(missing_ok=True)  # of an earlier state of the folder
    whole = [copy for copy, reason in zip(copies, reasons, strict=True) if not reason]
    bad = [BadImage(a, reason) for a, reason in zip(addresses, reasons, strict=True) if reason]
    return whole, bad


def _expand(name: str) -> list[str]:
    """An address, a pattern or a folder → addresses of tar files."""
    folder, _slash, last = name.rpartition("/")
    if "*" in folder:
        raise DataError(f"{name}: has * in the name of a folder: write it in the last name only.")
    if "*" in last:
        return [one for one in _listed(f"{folder}/") if fnmatch(one.rpartition("/")[2], last)]
    return [name] if last.endswith(".tar") else _listed(f"{name.rstrip('/')}/")


def _listed(folder: str) -> list[str]:
    """The tar files of a folder: those of its dataset.json, or else those that the server lists."""
    description = folder + DESCRIPTION
    if not _fetch(description):
        with contextlib.suppress(ValueError, OSError, RecursionError, DataError):
            content = json.loads(read_beside(_copy_path(description)))
            names = content.get("shards") if isinstance(content, dict) else None
            if isinstance(names, dict) and all("/" not in name for name in names):
                return [folder + quote(name) for name in names]
    try:
        if _is_http(folder):
            with urllib.request.urlopen(folder, timeout=TIMEOUT) as page:
                text = page.read(LARGEST_LISTING).decode(errors="replace")
            links = re.findall(r"""href=["']([^"'/?#]+\.tar)["']""", text)
            return sorted({folder + link for link in links})
        system, path = _file_system(folder)
        paths = system.glob(path.rstrip("/") + "/*.tar")
        return sorted(system.unstrip_protocol(one) for one in paths)
    except Exception as problem:  # servers and libraries of theirs fail in many ways
        raise DataError(f"{folder}: cannot be listed ({_line(problem)}).") from None


def _copy_path(address: str) -> Path:
    """Where the copy of a file lies."""
    parts = urlsplit(address)
    names = [name for name in unquote(parts.path).split("/") if name not in ("", ".")]
    if not names or ".." in names:
        raise DataError(f"{address!r} is no address of a file: write it without '..'.")
    return Path(
        cache_folder(),
        "downloads",
        *(quote(name, safe="") for name in (parts.scheme, parts.netloc or "_")),
        *(quote(name, safe=" ") for name in names),
    )


def _fetch(address: str) -> str:
    """Copies a file, unless its copy is as new; returns why that failed, or ""."""
    copy = _copy_path(address)
    note = copy.with_name(f"{copy.name}.state")
    reason = ""
    for attempt in range(2):
        if attempt:
            time.sleep(RETRY_SECONDS)
        try:
            remote = _look_up(address)
            size = copy.stat().st_size if copy.is_file() and note.is_file() else -1
            if remote.size in (None, size) and size >= 0 and note.read_text() == remote.state:
                return ""
            _download(address, copy, remote.size)
            atomic_write(note, remote.state)
            return ""
        except FileNotFoundError:
            return ABSENT
        except urllib.error.HTTPError as problem:
            if problem.code in (401, 403, 404, 410):
                return ABSENT if problem.code in (404, 410) else f"refused ({problem.code})"
            reason = _line(problem)
        except Exception as problem:  # servers and libraries of theirs fail in many ways
            reason = _line(problem)
            if isinstance(problem, ImportError | ValueError):
                break
    return "" if copy.is_file() and note.is_file() else f"cannot be copied ({reason})"


def _download(address: str, copy: Path, size: int | None) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(copy.parent).free
    if size is not None and size > free:
        raise OSError(f"{size >> 20} MiB, and {free >> 20} are free: set VITRAIL_CACHE to a folder")
    temporary = copy.with_name(f"{copy.name}.{os.getpid()}.part")
    try:
        with _open(address) as source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK)
            target.flush()
            os.fsync(target.fileno())
        copied = temporary.stat().st_size
        if size is not None and copied != size:
            raise OSError(f"ends after {copied:,} of {size:,} bytes")
        os.replace(temporary, copy)
    finally:
        temporary.unlink(missing_ok=True)


def _look_up(address: str) -> RemoteFile:
    if _is_http(address):
        request = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            headers = answer.headers
        state = " ".join(headers.get(key, "") for key in ("ETag", "Last-Modified"))
        length = headers.get("Content-Length")
        return RemoteFile(f"{state} {length}", None if length is None else int(length))
    system, path = _file_system(address)
    return RemoteFile(str(system.checksum(path)), system.info(path).get("size"))


def _open(address: str) -> Any:
    if _is_http(address):
        return urllib.request.urlopen(address, timeout=TIMEOUT)
    system, path = _file_system(address)
    return system.open(path, "rb")


def _file_system(address: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise DataError(f"{address}: needs the package fsspec: pip install fsspec") from None
    from_address: Callable[[str], tuple[Any, str]] = fsspec.core.url_to_fs
    return from_address(address)


def _is_http(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _line(problem: Exception) -> str:
    if isinstance(problem, urllib.error.HTTPError):
        return f"{problem.code} {problem.reason}"
    reason = getattr(problem, "reason", None) or problem
    if isinstance(problem, http.client.IncompleteRead):
        return "the connection ended early"
    lines = str(getattr(reason, "strerror", None) or reason).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(problem).__name__
