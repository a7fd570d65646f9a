"""Signals: tables of values over time, NumPy arrays and sound."""

import functools
from pathlib import Path

import numpy as np

from vitrail.data.file_spans import Source, map_array, openable, size_of
from vitrail.data.recordings import ArrayRecording, Recording, damage
from vitrail.errors import DataError

TABLES = (".csv", ".tsv", ".txt")
SUFFIXES = (*TABLES, ".npy", ".wav")


def is_signal_file(path: Source) -> bool:
    """Whether a path is a signal, by its suffix.

    Args:
        path: a file.

    Returns:
        Whether `open_signal` reads it.

    Example:
        >>> is_signal_file(Path("beat.csv")), is_signal_file(Path("beat.jpg"))
        (True, False)
    """
    return path.suffix.lower() in SUFFIXES


def open_signal(path: Source) -> Recording:
    """Opens a signal.

    Args:
        path: a table (.csv, .tsv, .txt), a row for each point in time and a column for each
            channel, with or without a line of names; a .npy file of (length,) or (channels,
            length), which is not unpickled; or a .wav file, whose full scale becomes 1.

    Returns:
        The signal. Arrays are mapped, not read.

    Raises:
        DataError: it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "beat.csv"
        >>> _ = path.write_text("lead 1,lead 2\\n0.5,1\\n0.25,2\\n0,3\\n")
        >>> open_signal(path).shape
        (2, 3)
    """
    size_of(path)
    modified = path.stat().st_mtime_ns
    with damage(str(path)):
        if path.suffix.lower() in TABLES:
            array = _table(path, modified)
        elif path.suffix.lower() == ".wav":
            array = _sound(path)
        else:
            array = map_array(path)
        if array.ndim not in (1, 2):
            raise DataError(
                f"{path}: has shape {array.shape}: a signal is (length,) or (channels, length)."
            )
        return ArrayRecording(str(path), array[None] if array.ndim == 1 else array, sampled_axes=1)


@functools.lru_cache(maxsize=256)
def _table(path: Source, modified: int) -> np.ndarray:
    """A table of numbers → (columns, rows) in float32."""
    del modified  # it only distinguishes one state of the file from another
    with path.open("rb") as file:
        line = file.readline().decode("utf-8-sig", "replace")
    delimiter = next((mark for mark in ",;\t" if mark in line), None)
    names = 0 if _is_numeric(line.split(delimiter)) else 1
    values = np.loadtxt(
        openable(path),
        np.float32,
        delimiter=delimiter,
        skiprows=names,
        ndmin=2,
        encoding="utf-8-sig",
    )
    return values.T


def _is_numeric(cells: list[str]) -> bool:
    try:
        return bool([float(cell) for cell in cells])
    except ValueError:
        return False


class _Sound:
    """Integer samples (L, channels) of a sound, of which parts are scaled when they are read."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples.reshape(len(samples), -1)
        self.shape, self.ndim = self.samples.T.shape, 2

    def __getitem__(self, box: tuple[slice, slice]) -> np.ndarray:
        part = self.samples[box[1], box[0]].T
        if part.dtype == np.uint8:  # 8 bits are stored with an offset
            return (part.astype(np.float32) - 128) / 128
        if part.dtype.kind == "i":
            return part.astype(np.float32) / -float(np.iinfo(part.dtype).min)
        return part.astype(np.float32)


def _sound(path: Source) -> np.ndarray:
    from scipy.io import wavfile

    try:
        _, samples = wavfile.read(openable(path), mmap=isinstance(path, Path))
    except ValueError:  # 24 bits cannot be mapped
        _, samples = wavfile.read(openable(path))
    return _Sound(samples)  # type: ignore[return-value]
