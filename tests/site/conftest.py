"""The built book, on a server, and a browser."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.explorer.browser import axe as axe
from tests.explorer.browser import headless_browser

SITE = Path(__file__).parents[2] / "docs" / "site"


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the book, as `make docs` leaves it."""
    if not all((SITE / language / "index.html").is_file() for language in ("en", "zh")):
        pytest.skip("the book is not built: run `make docs`")
    return SITE


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The address of a server of the book."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    with headless_browser() as driver:
        yield driver
