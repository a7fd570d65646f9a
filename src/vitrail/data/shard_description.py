"""The files beside tar shards that say what their labels mean."""

import stat
from pathlib import Path

from vitrail.errors import DataError

DESCRIPTION, CLASSES = "dataset.json", "classes.txt"
LARGEST = 2**26  # bytes


def read_beside(file: Path) -> str:
    """The content of such a file.

    Args:
        file: the file.

    Returns:
        Its text.

    Raises:
        DataError: it is larger than such files are, or no regular file.
        OSError: it cannot be read.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / CLASSES
        >>> _ = file.write_text("cat\\ndog")
        >>> read_beside(file).split()
        ['cat', 'dog']
    """
    state = file.stat()
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"{file} is no regular file: give one.")
    if state.st_size > LARGEST:
        raise DataError(f"{file} has more than {LARGEST >> 20} MiB.")
    return file.read_text(errors="replace")
