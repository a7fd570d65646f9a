"""Files inside a tar file, read where they lie: as paths are, for readers of recordings."""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from vitrail.data.tar_files import tar_members
from vitrail.errors import DataError

PACKED = ".frames.tar"  # suffix of a folder of frames or slices that was packed


class FileSpan(NamedTuple):
    """A file that is a part of another file. It has the methods of `Path` that readers need.

    Args:
        file: the file that holds it, such as a tar file.
        inner: its path in there. One that ends in .frames.tar is a folder of frames or slices.
        offset: where it begins.
        size: its number of bytes.

    Example:
        >>> span = FileSpan(Path("clips/train-000000.tar"), "0017.mp4", 512, 9)
        >>> str(span), span.name, span.suffix
        ('clips/train-000000.tar/0017.mp4', '0017.mp4', '.mp4')
    """

    file: Path
    inner: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.file}/{self.inner}"

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.inner.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """What its name ends in, from the last dot on."""
        return os.path.splitext(self.name)[1]

    def exists(self) -> bool:
        """Whether the file that holds it exists."""
        return self.file.exists()

    def is_dir(self) -> bool:
        """Whether it is a folder of frames or slices."""
        return self.inner.lower().endswith(PACKED)

    def stat(self) -> os.stat_result:
        """Size and times of the file that holds it."""
        return self.file.stat()

    def iterdir(self) -> "Iterator[FileSpan]":
        """The files of a folder of frames or slices."""
        with self.open() as file:
            for member in tar_members(file, str(self)):
                inner = f"{self.inner}/{member.name}"
                yield FileSpan(self.file, inner, self.offset + member.offset, member.size)

    def open(self, mode: str = "rb") -> BinaryIO:
        """Opens it.

        Args:
            mode: "rb", as it can only be read.

        Returns:
            A file that can be sought.
        """
        del mode
        return io.BufferedReader(_SpanReader(self))

    def read_bytes(self) -> bytes:
        """Its content."""
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


Source = Path | FileSpan  # where a recording is read from


def size_of(source: Source) -> int:
    """The number of bytes of a file, which must be a regular one.

    Args:
        source: a file, or a part of one.

    Returns:
        Its size.

    Raises:
        DataError: there is none, or it is a pipe or a device, which has no end.

    Example:
        >>> size_of(Path("/dev/zero"))
        Traceback (most recent call last):
        vitrail.errors.DataError: /dev/zero: is no regular file: give one.
    """
    if isinstance(source, FileSpan):
        return source.size
    try:
        state = source.stat()
    except OSError as problem:
        raise DataError(f"{source}: cannot be read ({problem.strerror}).") from None
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"{source}: is no regular file: give one.")
    return state.st_size


def openable(source: Source) -> str | BinaryIO:
    """What decoders open.

    Args:
        source: a file, or a part of one.

    Returns:
        The path of a file, for which decoders have ways of their own; an open file for a part.

    Example:
        >>> openable(Path("walk.mp4"))
        'walk.mp4'
    """
    return source.open() if isinstance(source, FileSpan) else str(source)


def map_array(source: Source) -> np.ndarray:
    """A .npy file that is mapped, not read. Nothing in it is unpickled.

    Args:
        source: a file, or a part of one.

    Returns:
        The array.

    Raises:
        ValueError: it is no .npy file of numbers, or is cut short.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "ramp.npy"
        >>> np.save(path, np.arange(3.0))
        >>> map_array(FileSpan(path, "ramp.npy", 0, path.stat().st_size)).tolist()
        [0.0, 1.0, 2.0]
    """
    if isinstance(source, Path):
        array: np.ndarray = np.load(source, mmap_mode="r", allow_pickle=False)
        return array
    with source.open() as file:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, is_fortran, dtype = read_header(file)
        start = file.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if start + np.prod(shape, dtype=float) * dtype.itemsize > source.size:
        raise ValueError("cut short")
    order = "F" if is_fortran else "C"
    return np.memmap(source.file, dtype, "r", source.offset + start, shape, order)  # type: ignore[call-overload]


class _SpanReader(io.RawIOBase):
    """The bytes of a span, as a file of their own."""

    def __init__(self, span: FileSpan) -> None:
        super().__init__()
        self._file = open(span.file, "rb")  # closed with this  # noqa: SIM115
        self._start, self._size, self._position = span.offset, span.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(min(len(buffer), self._size - self._position), 0)
        self._file.seek(self._start + self._position)
        count = self._file.readinto(buffer[:count])
        self._position += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
