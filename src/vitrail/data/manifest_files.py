"""Where the files are that a table names, which may have been written on another computer."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from urllib.parse import quote

from vitrail.data.formats import SUFFIXES
from vitrail.errors import DataError, describe_value

MOST_FOLDERS = 1000  # below the table's, in which a file is looked for


def local_name(base: Path, name: str) -> str:
    """A path as this system writes it: a table may be from Windows.

    Args:
        base: the folder that paths are relative to.
        name: a path of the table.

    Returns:
        The path, with slashes for backslashes unless a file has backslashes in its name.

    Example:
        >>> local_name(Path("pets"), "cat\\\\1.jpg")
        'cat/1.jpg'
    """
    if os.sep == "\\" or "\\" not in name or os.path.lexists(base / name):
        return name
    return name.replace("\\", "/")


def check_there(
    table: Path, base: Path, cells: Sequence[str], names: Sequence[str], options: Mapping[str, str]
) -> None:
    """Checks that a file at least is where the table says, and looks for the first one if none is.

    Args:
        table: the table.
        base: the folder that paths are relative to.
        cells: what its column of paths holds.
        names: the paths that follow from it.
        options: of the table's name, as they are now.

    Raises:
        DataError: no file is there; the message names options by which they are, if it finds any.

    Example:
        >>> check_there(Path("pets.csv"), Path("."), ["1.jpg"], ["1.jpg"], {})
        Traceback (most recent call last):
        vitrail.errors.DataError: pets.csv: '1.jpg' is not there: name the folder that ...
    """
    if any(os.path.lexists(base / name) for name in names):
        return
    if "://" in names[0]:
        raise DataError(
            f"{table}: {describe_value(names[0])} is an address: download the files, and name the "
            "folder that they are in by ?root=FOLDER."
        )
    message = f"{table}: {describe_value(names[0])} is not there"
    if len(names) > 1:
        message += f", nor is any other of its {len(names):,} paths"
    for file, changes in _candidates(table.parent, cells[0], options.get("root", "")):
        rest = {key: value for key, value in options.items() if key not in ("root", "suffix")}
        query = "&".join(f"{key}={quote(v, safe=_SAFE)}" for key, v in {**rest, **changes}.items())
        raise DataError(f"{message}: there is {file}, so write '{table}?{query}'.")
    raise DataError(
        f"{message}: name the folder that they are relative to, as {table.name}?root=FOLDER, or "
        "another column, as path=COLUMN."
    )


_SAFE = "/\\:,;|()[]= " + "".join(map(chr, range(0xA1, 0x2FF)))


def _candidates(folder: Path, cell: str, root: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """Files that a path may mean, and the options by which it does."""
    parts = PureWindowsPath(cell).parts  # which knows slashes too
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    suffixes = ("",) if Path(cell).suffix.lower() in SUFFIXES else ("", *sorted(SUFFIXES))
    for tail, inner in itertools.product(tails, [root, *_folders(folder)]):
        for suffix in suffixes:
            file = folder / inner / f"{tail}{suffix}"
            if os.path.isfile(file):  # or its name is too long
                strip = cell[: len(cell) - len(tail)]
                options = {"strip": strip, "root": inner, "suffix": suffix}
                yield file, {key: value for key, value in options.items() if value}


def _folders(root: Path) -> list[str]:
    """A folder and those in it, as paths from it."""
    names = [""]
    for folder, inner, _files in os.walk(root):
        relative = os.path.relpath(folder, root)
        depth = 0 if relative == "." else relative.count(os.sep) + 1
        inner[:] = sorted(inner)[:MOST_FOLDERS] if depth < 2 else []
        names += [name if relative == "." else f"{relative}/{name}" for name in inner]
        if len(names) > MOST_FOLDERS:
            break
    return names[:MOST_FOLDERS]
