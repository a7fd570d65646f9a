"""Members of tar files, found by their headers and read where they lie."""

import os
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from vitrail.errors import DataError

BLOCK = 512  # bytes, of which headers and contents are multiples
LARGEST_TEXT = 2**20  # bytes of labels, captions and headers of long names
LONG_NAME, LONG_LINK, PAX = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE


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
    position, end = 0, file.seek(0, os.SEEK_END)
    extended: dict[str, str] = {}  # what a header before says of the next
    while True:
        file.seek(min(position, end))  # a header may name any size
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
