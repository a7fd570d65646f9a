"""Samples of a tar file in the layout of WebDataset: members of one key, one after the other.

`cat/0017.jpg`, `cat/0017.cls` and `cat/0017.json` are one sample, whose key is `cat/0017`. Members
are found by their headers and read where they lie; nothing is unpacked to disk.
"""

import contextlib
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from vitrail.data.check import cache_folder
from vitrail.data.file_spans import PACKED, size_of
from vitrail.data.formats import is_image_name
from vitrail.data.recording_inputs import KINDS
from vitrail.data.tar_files import LARGEST_TEXT, Member, tar_members
from vitrail.errors import DataError
from vitrail.files import atomic_write

LARGEST_WEIGHT = 1e30
VERSION = 3  # of the index; another one reads all shards again
LABEL_KEYS = ("cls", "label", "labels", "class", "category", "target", "numbers")  # of JSON objects
CAPTION_KEYS = ("caption", "text")


class Parts(NamedTuple):
    """Which members of a sample are read.

    Args:
        image: suffix of the image or recording, such as "left.jpg"; "" for the shortest that there
            is.
        label: suffix of the label, such as "cls2", or its key in a JSON object; "" for "cls", or
            for the first of `LABEL_KEYS` that the object has.
        kind: "videos", "volumes" or "signals"; "" for images.

    Example:
        >>> Parts(label="cls2").image
        ''
    """

    image: str = ""
    label: str = ""
    kind: str = ""

    def has_suffix(self, suffix: str) -> bool:
        """Whether members of a suffix are images, or recordings of the kind.

        Args:
            suffix: without its first dot.

        Returns:
            Whether such a member may be the sample.
        """
        if not self.kind:
            return is_image_name(f"x.{suffix}")
        if suffix == "txt":  # a caption
            return False
        is_folder = f".{suffix}" == PACKED and KINDS[self.kind].is_folder is not None
        return is_folder or KINDS[self.kind].is_file(Path(f"x.{suffix}"))


class TarSample(NamedTuple):
    """A sample of a tar file.

    Args:
        name: path of its image or recording in the tar file.
        key: what identifies it: "file_name" of its JSON object, or its key in the tar file.
        offset: where its image begins.
        size: bytes of its image.
        label: a class, a list of labels, an object of numbers; None for no label.
        caption: its caption; "" for none.
        weight: how much it counts in training.

    Example:
        >>> TarSample("0017.jpg", "0017", 512, 9, "3").caption
        ''
    """

    name: str
    key: str
    offset: int
    size: int
    label: Any = None
    caption: str = ""
    weight: float = 1.0


class TarIndex(NamedTuple):
    """What a tar file holds.

    Args:
        samples: its samples, in their order.
        unused: number of members that are not used, by suffix.
        problems: what of it is damaged, and not among the samples.

    Example:
        >>> TarIndex([], Counter(npy=2), []).unused["npy"]
        2
    """

    samples: list[TarSample]
    unused: Counter[str]
    problems: list[str]


def index_of(path: Path, parts: Parts) -> TarIndex:
    """The index of a local tar file, which is kept in the user's cache folder.

    Args:
        path: the tar file.
        parts: which members are read.

    Returns:
        The index, read again if the file has changed since. What cannot be read is one of its
        problems.

    Example:
        >>> index_of(Path("nowhere.tar"), Parts()).problems
        ['cannot be read (No such file or directory)']
    """
    try:
        size_of(path)
        stat = path.stat()
        state = [VERSION, stat.st_size, stat.st_mtime_ns]
        name = hashlib.sha256(os.fsencode(path.absolute()) + repr(parts).encode()).hexdigest()[:32]
        stored = cache_folder() / "shards" / f"{name}.json"
        try:
            content = json.loads(stored.read_text())
            if content["state"] == state:
                samples = [TarSample(*row) for row in content["samples"]]
                return TarIndex(samples, Counter(content["unused"]), content["problems"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass  # there is none, or it is damaged
        unused: Counter[str] = Counter()
        problems: list[str] = []
        with path.open("rb") as file:
            samples = list(read_samples(file, str(path), parts, unused, problems))
    except OSError as problem:
        return TarIndex([], Counter(), [f"cannot be read ({problem.strerror or problem})"])
    except DataError as problem:
        return TarIndex([], Counter(), [_reason(problem, str(path))])
    index = TarIndex(samples, unused, problems)
    with contextlib.suppress(OSError):  # the cache folder cannot be written to
        atomic_write(stored, json.dumps({"state": state, **index._asdict()}))
    return index


def read_samples(
    file: BinaryIO, shard: str, parts: Parts, unused: Counter[str], problems: list[str]
) -> Iterator[TarSample]:
    """The samples of a tar file, in their order.

    Args:
        file: opened at its beginning.
        shard: its name, for messages.
        parts: which members are read.
        unused: counts the members that are not used, by suffix.
        problems: gets what is damaged: one line for a sample that is left out, and for a tar file
            that is compressed, or ends in its middle, after which no more samples come.

    Yields:
        Each sample.

    Example:
        >>> import io
        >>> list(read_samples(io.BytesIO(bytes(1024)), "empty.tar", Parts(), Counter(), []))
        []
    """
    sample = _Sample("", parts)
    keys = {""}

    def finished() -> Iterator[TarSample]:
        try:
            yield from sample.finished(unused)
        except DataError as problem:
            problems.append(_reason(problem, shard))

    try:
        for member in tar_members(file, shard):
            key, suffix = _key_and_suffix(member.name)
            if not suffix:
                continue
            if key != sample.key:
                yield from finished()
                sample = _Sample(key, parts)
                if key in keys:
                    sample.is_left_out = True
                    problems.append(f"the key {key!r} is there twice: write the shard again")
                keys.add(key)
            if suffix in sample.members:
                problems.append(f"{member.name} is there twice: write the shard again")
                continue
            sample.members[suffix] = member
            if not sample.is_text(suffix) or sample.is_left_out:
                continue
            if member.size > LARGEST_TEXT:
                sample.is_left_out = True
                problems.append(
                    f"{member.name} has {member.size:,} bytes, and {LARGEST_TEXT:,} are the limit: "
                    "leave it out of the shard"
                )
                continue
            file.seek(member.offset)
            sample.contents[suffix] = file.read(member.size)
        yield from finished()
    except DataError as problem:
        problems.append(_reason(problem, shard))


def _reason(problem: DataError, shard: str) -> str:
    return str(problem).removeprefix(f"{shard}: ").rstrip(".")


def _key_and_suffix(name: str) -> tuple[str, str]:
    """A path in a tar file → key, and all suffixes in small letters; "" for what is no sample."""
    folder, slash, base = name.rpartition("/")
    stem, _dot, suffix = base.partition(".")
    if not stem or re.match(r"__[^/]*__($|/)", name):  # hidden files, and WebDataset's own notes
        return "", ""
    return f"{folder}{slash}{stem}", suffix.lower()


class _Sample:
    """The members of one key, as they come."""

    def __init__(self, key: str, parts: Parts) -> None:
        self.key, self.parts = key, parts
        self.members: dict[str, Member] = {}
        self.contents: dict[str, bytes] = {}
        self.is_left_out = False

    def is_text(self, suffix: str) -> bool:
        return suffix in ("cls", "txt", "json", self.parts.label)

    def finished(self, unused: Counter[str]) -> Iterator[TarSample]:
        """The sample, if it has an image or a recording."""
        if self.is_left_out:
            return
        images = [s for s in self.members if self.parts.has_suffix(s) and s != self.parts.label]
        if self.parts.image:
            images = [s for s in images if s == self.parts.image]
        # "jpg" before "mask.png", and both before arrays, which are rarely images.
        image = min(images, key=lambda s: (s.endswith("npy"), len(s)), default="")
        unused.update(s for s in self.members if not image or not (s == image or self.is_text(s)))
        if not image:
            return
        member, record = self.members[image], self._record()
        yield TarSample(
            member.name,
            str(record.get("file_name") or self.key),
            member.offset,
            member.size,
            self._label(record),
            self._text("txt") or next((str(record[k]) for k in CAPTION_KEYS if k in record), ""),
            self._weight(record),
        )

    def _record(self) -> dict[str, Any]:
        try:
            record = json.loads(self.contents.get("json", b"{}"))
        except (ValueError, RecursionError):
            raise DataError(f"{self.members['json'].name} is no JSON") from None
        return record if isinstance(record, dict) else {}

    def _weight(self, record: dict[str, Any]) -> float:
        weight = record.get("weight", 1.0)
        if not isinstance(weight, int | float):
            return 1.0
        if not 0 <= weight <= LARGEST_WEIGHT:  # NaN is none of them
            name = self.members["json"].name
            raise DataError(f"{name} has a weight that is not from 0 to {LARGEST_WEIGHT:g}")
        return float(weight)

    def _label(self, record: dict[str, Any]) -> Any:
        if self.parts.label:
            text = self._text(self.parts.label)
            return record.get(self.parts.label) if text is None else text
        text = self._text("cls")
        return next((record[k] for k in LABEL_KEYS if k in record), None) if text is None else text

    def _text(self, suffix: str) -> str | None:
        content = self.contents.get(suffix)
        return None if content is None else content.decode("utf-8", "replace").strip()
