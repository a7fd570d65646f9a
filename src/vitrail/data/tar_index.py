"""Samples of a tar file in the layout of WebDataset: members of one key, one after the other.

`cat/0017.jpg`, `cat/0017.cls` and `cat/0017.json` are one sample, whose key is `cat/0017`. Members
are found by their headers and read where they lie; nothing is unpacked to disk.
"""

import contextlib
import hashlib
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from vitrail.data.check import cache_folder
from vitrail.data.formats import MAX_BYTES, is_image_name
from vitrail.errors import DataError
from vitrail.files import atomic_write

VERSION = 1  # of the index; another one reads all shards again
BLOCK = 512  # bytes, of which headers and contents are multiples
LARGEST_TEXT = 2**20  # bytes of labels, captions and headers of long names
LONG_NAME, LONG_LINK, PAX = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE
LABEL_KEYS = ("cls", "label", "labels", "class", "category", "target", "numbers")  # of JSON objects
CAPTION_KEYS = ("caption", "text")


class Member(NamedTuple):
    """A file in a tar file.

    Args:
        name: its path in the tar file.
        offset: where its content begins.
        size: bytes of its content.

    Example:
        >>> Member("cat/0017.jpg", 512, 9).offset
        512
    """

    name: str
    offset: int
    size: int


class Parts(NamedTuple):
    """Which members of a sample are read.

    Args:
        image: suffix of the image, such as "left.jpg"; "" for the shortest that images have.
        label: suffix of the label, such as "cls2", or its key in a JSON object; "" for "cls", or
            for the first of `LABEL_KEYS` that the object has.

    Example:
        >>> Parts(label="cls2").image
        ''
    """

    image: str = ""
    label: str = ""


class TarSample(NamedTuple):
    """A sample of a tar file.

    Args:
        name: path of its image in the tar file.
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

    Example:
        >>> TarIndex([], Counter(npy=2)).unused["npy"]
        2
    """

    samples: list[TarSample]
    unused: Counter[str]


def index_of(path: Path, parts: Parts) -> TarIndex:
    """The index of a local tar file, which is kept in the user's cache folder.

    Args:
        path: the tar file.
        parts: which members are read.

    Returns:
        The index, read again if the file has changed since.

    Raises:
        DataError: the file cannot be read, is damaged or compressed.

    Example:
        >>> index_of(Path("nowhere.tar"), Parts())
        Traceback (most recent call last):
        vitrail.errors.DataError: nowhere.tar: cannot be read (No such file or directory).
    """
    try:
        stat = path.stat()
        state = [VERSION, stat.st_size, stat.st_mtime_ns]
        name = hashlib.sha256(os.fsencode(path.absolute()) + repr(parts).encode()).hexdigest()[:32]
        stored = cache_folder() / "shards" / f"{name}.json"
        try:
            content = json.loads(stored.read_text())
            if content["state"] == state:
                samples = [TarSample(*row) for row in content["samples"]]
                return TarIndex(samples, Counter(content["unused"]))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # there is none, or it is damaged
        unused: Counter[str] = Counter()
        with path.open("rb") as file:
            samples = [sample for sample, _data in read_samples(file, str(path), parts, unused)]
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror or problem}).") from None
    with contextlib.suppress(OSError):  # the cache folder cannot be written to
        atomic_write(stored, json.dumps({"state": state, "samples": samples, "unused": unused}))
    return TarIndex(samples, unused)


def read_samples(
    file: BinaryIO, shard: str, parts: Parts, unused: Counter[str], *, with_images: bool = False
) -> Iterator[tuple[TarSample, bytes]]:
    """The samples of a tar file, in their order.

    Args:
        file: opened at its beginning.
        shard: its name, for messages.
        parts: which members are read.
        unused: counts the members that are not used, by suffix.
        with_images: whether images are read, too.

    Yields:
        Each sample, and the bytes of its image, b"" without `with_images`.

    Raises:
        DataError: the file is damaged or compressed.

    Example:
        >>> import io
        >>> list(read_samples(io.BytesIO(bytes(1024)), "empty.tar", Parts(), Counter()))
        []
    """
    sample = _Sample("", parts)
    for member in tar_members(file, shard):
        key, suffix = _key_and_suffix(member.name)
        if not suffix:
            continue
        if key != sample.key:
            yield from sample.finished(shard, unused)
            sample = _Sample(key, parts)
        if suffix in sample.members:
            raise DataError(f"{shard}: {member.name} is there twice: write the shard again.")
        sample.members[suffix] = member
        is_text = sample.is_text(suffix)
        if is_text or (with_images and is_image_name(f"x.{suffix}")):
            limit = LARGEST_TEXT if is_text else MAX_BYTES
            if member.size > limit:
                raise DataError(
                    f"{shard}: {member.name} has {member.size:,} bytes, and {limit:,} are the "
                    "limit: leave it out of the shard."
                )
            file.seek(member.offset)
            sample.contents[suffix] = file.read(member.size)
    yield from sample.finished(shard, unused)


def tar_members(file: BinaryIO, shard: str) -> Iterator[Member]:
    """The regular files in a tar file: ustar, and GNU's and POSIX's forms of long names and sizes.

    Args:
        file: opened at its beginning; others may move its position between two members.
        shard: its name, for messages.

    Yields:
        Each file in it, in their order.

    Raises:
        DataError: the tar file is damaged or compressed.

    Example:
        >>> import io
        >>> list(tar_members(io.BytesIO(bytes(1024)), "empty.tar"))
        []
    """
    position = 0
    extended: dict[str, str] = {}  # what a header before says of the next
    while True:
        file.seek(position)
        header = _header(file.read(BLOCK), shard, position)
        if header is None:
            return
        start = position + BLOCK
        is_extension = header.type in (LONG_NAME, LONG_LINK, PAX, tarfile.SOLARIS_XHDTYPE)
        if not is_extension:
            header.size = int(extended.get("size", header.size))
        if header.size < 0 or (is_extension and header.size > LARGEST_TEXT):
            raise _damage(shard, position)
        if header.isreg() or header.type not in tarfile.SUPPORTED_TYPES or is_extension:
            position = start + -(-header.size // BLOCK) * BLOCK
        else:
            position = start  # links and folders have no content, whatever size they say
        if is_extension:
            content = file.read(header.size)
            if header.type == LONG_NAME:
                extended["path"] = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif header.type != LONG_LINK:
                extended |= _pax(content, shard, start)
            continue
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise DataError(f"{shard}: {header.name} is sparse: write the shard again without -S.")
        if header.isreg():
            yield Member(extended.get("path", header.name), start, header.size)
        extended = {}


def _header(block: bytes, shard: str, position: int) -> tarfile.TarInfo | None:
    """A block → the header that it holds; None at the end of the tar file."""
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        if len(block) == BLOCK and not any(block):
            return None
    if position == 0 and block.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")):
        raise DataError(
            f"{shard}: is compressed, so that no sample can be read by itself: unpack it to .tar "
            "(images hardly get smaller)."
        )
    if len(block) < BLOCK:
        raise DataError(
            f"{shard}: ends before byte {position + BLOCK:,}, in its middle: copy it again."
        )
    raise _damage(shard, position)


def _damage(shard: str, position: int) -> DataError:
    return DataError(f"{shard}: no tar file, or damaged at byte {position:,}: write it again.")


def _pax(content: bytes, shard: str, position: int) -> dict[str, str]:
    """The records "LENGTH KEY=VALUE" of a header of POSIX → path and size, where it has them."""
    values = {}
    while content and content[0]:
        record = re.match(rb"(\d{1,7}) (path|size)=", content)
        length = int(record[1]) if record else int((re.match(rb"\d{1,7}", content) or [0])[0])
        if not 0 < length <= len(content):
            raise _damage(shard, position)
        if record:
            value = content[record.end() : length - 1].decode("utf-8", "surrogateescape")
            if record[2] == b"size" and not re.fullmatch(r"[0-9]{1,19}", value):
                raise _damage(shard, position)
            values[record[2].decode()] = value
        content = content[length:]
    return values


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

    def is_text(self, suffix: str) -> bool:
        return suffix in ("cls", "txt", "json", self.parts.label)

    def finished(self, shard: str, unused: Counter[str]) -> Iterator[tuple[TarSample, bytes]]:
        """The sample, if it has an image."""
        images = [s for s in self.members if is_image_name(f"x.{s}")]
        if self.parts.image:
            images = [s for s in images if s == self.parts.image]
        # "jpg" before "mask.png", and both before arrays, which are rarely images.
        image = min(images, key=lambda s: (s.endswith("npy"), len(s)), default="")
        unused.update(s for s in self.members if not image or not (s == image or self.is_text(s)))
        if not image:
            return
        member, record = self.members[image], self._record(shard)
        weight = record.get("weight", 1.0)
        yield (
            TarSample(
                member.name,
                str(record.get("file_name") or self.key),
                member.offset,
                member.size,
                self._label(record),
                self._text("txt")
                or next((str(record[k]) for k in CAPTION_KEYS if k in record), ""),
                float(weight) if isinstance(weight, int | float) else 1.0,
            ),
            self.contents.get(image, b""),
        )

    def _record(self, shard: str) -> dict[str, Any]:
        try:
            record = json.loads(self.contents.get("json", b"{}"))
        except (ValueError, RecursionError):
            raise DataError(f"{shard}: {self.members['json'].name} is no JSON.") from None
        return record if isinstance(record, dict) else {}

    def _label(self, record: dict[str, Any]) -> Any:
        if self.parts.label:
            text = self._text(self.parts.label)
            return record.get(self.parts.label) if text is None else text
        text = self._text("cls")
        return next((record[k] for k in LABEL_KEYS if k in record), None) if text is None else text

    def _text(self, suffix: str) -> str | None:
        content = self.contents.get(suffix)
        return None if content is None else content.decode("utf-8", "replace").strip()
