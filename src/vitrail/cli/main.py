"""`vitrail`: finds the command, and turns errors into one line and exit code 2."""

import errno
import sys
from importlib.util import find_spec

from vitrail.errors import VitrailError

PATHS = (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError)
NEEDED = ("typer", "rich", "PIL", "pydantic", "accelerate", "matplotlib", "yaml", "simplejpeg")


def main() -> None:
    """Runs the command line."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(_say(f"the command line needs {missing[0]}: pip install 'vitrail[train]'"))
    from vitrail.cli.commands import app

    try:
        app()
    except VitrailError as problem:
        sys.exit(_say(str(problem)))
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.exit(0)
    except OSError as problem:
        if isinstance(problem, PATHS):
            sys.exit(_say(f"{problem.filename}: {problem.strerror}; choose another path."))
        if problem.errno != errno.ENOSPC:
            raise
        sys.exit(
            _say("the disk is full: make room and try again; files that were whole still are.")
        )


def _say(problem: str) -> int:
    sys.stderr.write(f"error: {' '.join(problem.split())}\n")
    return 2
