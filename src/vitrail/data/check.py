"""The decoding check: which samples cannot be read, remembered between runs."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vitrail.data.dataset import Dataset, Verdict
from vitrail.files import atomic_write

Progress = Callable[[int, int], None]  # (done, total)
REPORTED = 10  # samples between two reports of progress
FINE = Verdict()  # of nearly all files: a new one for each takes long
VERSION = 1  # of what is checked; a new one checks all files again


def check(dataset: Dataset, progress: Progress | None = None) -> dict[int, Verdict]:
    """Decodes every sample that was not decoded before, or has changed since.

    Verdicts on files are kept in the user's cache folder, by path, size and time of change, and
    never beside the files.

    Args:
        dataset: a dataset that is not streamed.
        progress: called with (done, total).

    Returns:
        What is wrong or odd about samples, by index; those that are fine are left out.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> check(open_dataset("digits", limit=20))
        {}
    """
    states = [dataset.state(index) for index in range(len(dataset))]
    cache = VerdictCache(dataset.location)
    verdicts: dict[int, Verdict] = {}
    unknown = []
    for index, state in enumerate(states):
        verdict = cache.get(dataset.name(index), state) if state else None
        if verdict is None:
            unknown.append(index)
        elif verdict is not FINE:
            verdicts[index] = verdict
    done = len(dataset) - len(unknown)
    if progress is not None and done:
        progress(done, len(dataset))
    try:
        blocks = [unknown[i : i + REPORTED] for i in range(0, len(unknown), REPORTED)]
        with ThreadPoolExecutor() as pool:
            for block, judged in zip(
                blocks, pool.map(lambda b: [dataset.examine(i) for i in b], blocks), strict=True
            ):
                for index, verdict in zip(block, judged, strict=True):
                    if states[index]:
                        cache.put(dataset.name(index), states[index], verdict)
                    if any(verdict):
                        verdicts[index] = verdict
                done += len(block)
                if progress is not None:
                    progress(done, len(dataset))
    finally:  # Ctrl-C loses nothing
        cache.save()
    return dict(sorted(verdicts.items()))


class VerdictCache:
    """Verdicts on the files of one dataset, in a file of the user's cache folder.

    Args:
        location: folder or name of the dataset; "" keeps nothing.

    Example:
        >>> cache = VerdictCache("")
        >>> cache.put("cat.jpg", "9 bytes", Verdict("the file is empty"))
        >>> cache.get("cat.jpg", "9 bytes").reason, cache.get("cat.jpg", "10 bytes")
        ('the file is empty', None)
    """

    def __init__(self, location: str) -> None:
        name = hashlib.sha256(os.fsencode(location)).hexdigest()[:32]
        self.file = cache_folder() / "checked" / f"{name}.json" if location else None
        self.entries: dict[str, list[str]] = {}
        self.is_changed = False
        if self.file is None:
            return
        try:
            content = json.loads(self.file.read_text())
            if content["version"] == VERSION:
                self.entries = content["files"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass  # there is none, or it is damaged: everything is checked again

    def get(self, name: str, state: str) -> Verdict | None:
        """The verdict on a file.

        Args:
            name: its path.
            state: what tells one content of the file from another.

        Returns:
            The verdict; None if there is none on that content.
        """
        entry = self.entries.get(name)
        if entry is None or entry[0] != state:
            return None
        return Verdict(*entry[1:]) if any(entry[1:]) else FINE

    def put(self, name: str, state: str, verdict: Verdict) -> None:
        """Keeps a verdict.

        Args:
            name: path of the file.
            state: what tells one content of the file from another.
            verdict: why the file cannot be read, or what is odd about it.
        """
        self.entries[name] = [state, *verdict]
        self.is_changed = True

    def save(self) -> None:
        """Writes the verdicts, if there are new ones and the cache folder can be written to."""
        if self.file is None or not self.is_changed:
            return
        with contextlib.suppress(OSError):
            atomic_write(self.file, json.dumps({"version": VERSION, "files": self.entries}))


def cache_folder() -> Path:
    """Where Vitrail keeps what it can compute again.

    Returns:
        The folder that VITRAIL_CACHE names, or vitrail in XDG_CACHE_HOME or ~/.cache.

    Example:
        >>> cache_folder().is_absolute()
        True
    """
    if named := os.environ.get("VITRAIL_CACHE"):
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "vitrail"
