"""The decoding check: which samples cannot be read, remembered between runs."""

import contextlib
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vitrail.data.dataset import Dataset, Verdict
from vitrail.files import atomic_write

Progress = Callable[[int, int], None]  # (done, total)
REPORTED = 10  # samples between two reports of progress
FINE = Verdict()  # of nearly all files: a new one for each takes long
VERSION = 2  # of what is checked; a new one checks all files again
SETS = 8  # sets of files whose verdicts are known without those of each file


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
    count = len(dataset)
    states = [dataset.state(index) for index in range(count)]
    cache = VerdictCache(dataset.location)
    whole = _digest_of(dataset, states) if all(states) else ""
    if (remembered := cache.verdicts_of(whole)) is not None:
        if progress is not None and count:
            progress(count, count)
        return remembered
    verdicts: dict[int, Verdict] = {}
    unknown = []
    for index, state in enumerate(states):
        verdict = cache.get(dataset.name(index), state) if state else None
        if verdict is None:
            unknown.append(index)
        elif verdict is not FINE:
            verdicts[index] = verdict
    done = count - len(unknown)
    if progress is not None and done:
        progress(done, count)
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
                    progress(done, count)
        cache.remember(whole, verdicts)
    finally:  # Ctrl-C loses nothing
        cache.save()
    return dict(sorted(verdicts.items()))


def _digest_of(dataset: Dataset, states: Sequence[str]) -> str:
    """A hash of the names of all files and of what changes with their content."""
    names = map(dataset.name, range(len(states)))
    text = "\n".join(itertools.chain.from_iterable(zip(names, states, strict=True)))
    return hashlib.sha256(os.fsencode(text)).hexdigest()


class VerdictCache:
    """Verdicts on the files of one dataset, in a file of the user's cache folder.

    The first line of the file has those on whole sets of files, by the digest of the set, so that
    the second line, with an entry for each file, is read only if something has changed.

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
        self.sets: dict[str, dict[str, list[str]]] = {}
        self.is_changed = False
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            self.sets = dict(self._read(0)["sets"])

    @functools.cached_property
    def entries(self) -> dict[str, list[str]]:
        """The state of each file and the verdict on it, by its path."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            return dict(self._read(1)["files"])
        return {}  # there is no file, or it is damaged: everything is checked again

    def _read(self, line: int) -> dict[str, Any]:
        """One of the two lines of the file."""
        if self.file is None:
            raise FileNotFoundError
        with open(self.file, encoding="utf-8") as file:
            text = next(itertools.islice(file, line, None), "")
        content: dict[str, Any] = json.loads(text)
        if content["version"] != VERSION:
            raise ValueError
        return content

    def verdicts_of(self, digest: str) -> dict[int, Verdict] | None:
        """The verdicts on a set of files.

        Args:
            digest: of the names and states of all its files; "" for a set that is not kept.

        Returns:
            What is wrong or odd, by the index of the file; None if nothing is kept of this set.
        """
        try:
            return {int(index): Verdict(*entry) for index, entry in self.sets[digest].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def remember(self, digest: str, verdicts: Mapping[int, Verdict]) -> None:
        """Keeps the verdicts on a set of files.

        Args:
            digest: of the names and states of all its files; "" keeps nothing.
            verdicts: what is wrong or odd, by the index of the file.
        """
        if digest:
            entries = {str(index): list(verdicts[index]) for index in sorted(verdicts)}
            older = list(self.sets.items())[-SETS + 1 :]
            self.sets = {**dict(older), digest: entries}
            self.is_changed = True

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
            lines = ({"sets": self.sets}, {"files": self.entries})
            text = "\n".join(json.dumps({"version": VERSION, **line}) for line in lines)
            atomic_write(self.file, text)


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
