"""What a command says while it works: lines, and a progress bar."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vitrail.errors import printable
from vitrail.messages import in_own_language, labelled

QUIET_SECONDS = 10  # between lines where there is no terminal to draw a bar on


@contextlib.contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that appears when it is first called; without a terminal, a line now and then.

    Args:
        description: its title.

    Yields:
        A function to call with (done, total).

    Example:
        >>> with progress_bar("reading images") as progress:
        ...     progress(1, 2)
    """
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(description, total=None, visible=False)
        if console.is_terminal:
            yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)
        else:
            yield _progress_lines(description)


def _progress_lines(description: str) -> Callable[[int, int], None]:
    """What prints how far something is, every `QUIET_SECONDS`."""
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= QUIET_SECONDS:
            last = time.monotonic()
            note(f"{description}: {done:,} / {total:,}")

    return report


def describe_bad_image(name: str, reason: str) -> str:
    """An image that cannot be read, in a line.

    Args:
        name: name of the image.
        reason: why it cannot be read.

    Returns:
        The line, in the user's language.

    Example:
        >>> describe_bad_image("cat.jpg", "the file is empty")
        'cat.jpg: the file is empty'
    """
    return labelled(name, in_own_language(reason))


def note(*lines: str) -> None:
    """Prints lines for the user on the standard error stream.

    Args:
        lines: the texts.

    Example:
        >>> note("400 images")
    """
    console = Console(stderr=True, soft_wrap=True)
    for line in lines:
        console.print(printable(line), highlight=False, markup=False)
