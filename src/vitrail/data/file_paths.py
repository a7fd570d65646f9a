"""Paths of many files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload


class FilePaths(Sequence[Path]):
    """Paths of files, each of which is made when it is used: to make a million takes seconds.

    Args:
        names: the paths as text.

    Example:
        >>> FilePaths(["pets/cat/1.jpg"])[0].name
        '1.jpg'
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)

    @classmethod
    def of(cls, paths: Sequence[Path]) -> "FilePaths":
        """paths → the same, as they are if they are of this class."""
        return paths if isinstance(paths, FilePaths) else cls(map(str, paths))

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> "FilePaths": ...
    def __getitem__(self, index: int | slice) -> "Path | FilePaths":
        """index → a path; slice → some of them."""
        if isinstance(index, slice):
            return FilePaths(self.names[index])
        return Path(self.names[index])


def readable(name: str) -> str:
    """A name as text that can be written anywhere, whatever bytes the name of a file has.

    Args:
        name: as Python gives it; bytes that are not UTF-8 are surrogates.

    Returns:
        The name, with such bytes as escapes.

    Example:
        >>> readable("猫"), readable("cat\\udcff")
        ('猫', 'cat\\\\xff')
    """
    try:
        return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # halves of pairs, which JSON can hold
        return name.encode(errors="backslashreplace").decode()
