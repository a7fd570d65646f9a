"""The local server of the page: Python's own, on the loopback address alone.

What keeps others out: it listens on 127.0.0.1; the path of every address begins with a random
token; `Host` must be this machine's own (a name that another site points here is refused), and
`Origin`, where a browser sends it, this page's. It serves files of the package by name, and never
opens one whose path comes from a request.
"""

import contextlib
import hmac
import json
import secrets
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from vitrail.errors import ConfigError, VitrailError
from vitrail.explorer.documents import Explorer
from vitrail.explorer.resources import content_type, page_files

HOSTS = ("127.0.0.1", "localhost")
MAX_UPLOAD = 2**26  # bytes of an image file
IDLE = 60  # seconds after which a silent connection is closed
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # the address holds the token
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class ExplorerServer(ThreadingHTTPServer):
    """The server of one explorer.

    Args:
        explorer: the model and its pictures.
        port: the port; 0 for any that is free.

    Attributes:
        url: the address of the page.

    Example:
        >>> ExplorerServer.daemon_threads
        True
    """

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"  # where it would share the port with others

    def __init__(self, explorer: Explorer, port: int) -> None:
        self.explorer, self.token = explorer, secrets.token_urlsafe(24)
        super().__init__((HOSTS[0], port), _Handler)

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return f"http://{HOSTS[0]}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Writes what went wrong, but for connections that a browser drops.

        Args:
            request: the socket.
            client_address: (host, port) of the connection.
        """
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def make_server(explorer: Explorer, *, host: str = HOSTS[0], port: int = 0) -> ExplorerServer:
    """A server of the page, which `serve_forever` runs.

    Args:
        explorer: the model and its pictures.
        host: "127.0.0.1" or "localhost".
        port: the port; 0 for any that is free.

    Returns:
        The server; its `url` is the address of the page.

    Raises:
        ConfigError: the host is another, or the port is in use.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> from vitrail.explorer.documents import Explorer
        >>> with make_server(Explorer(model, "tiny")) as server:
        ...     server.url.startswith("http://127.0.0.1:")
        True
    """
    if host not in HOSTS:
        raise ConfigError(
            f"host={host} can be reached from outside, and the page is for this machine only: "
            "leave it out, and from elsewhere use `ssh -L PORT:localhost:PORT`."
        )
    if not 0 <= port < 2**16:
        raise ConfigError(f"port={port} is none of 1 to 65535, or 0 for any that is free.")
    try:
        return ExplorerServer(explorer, port)
    except OSError as problem:
        raise ConfigError(
            f"port={port} cannot be used ({problem.strerror}): choose another, or 0 for any."
        ) from None


class _Refusal(Exception):
    """A request that is answered by a status and one line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: ExplorerServer
    server_version, sys_version = "vitrail", ""
    protocol_version = "HTTP/1.1"
    timeout = IDLE

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: requests of the page are not for the terminal."""

    def _answer(self, respond: Any) -> None:
        """Runs a request; whatever goes wrong becomes one line of JSON."""
        try:
            name, query = self._checked_path()
            data, kind = respond(name, query)
            self._send(200, data, kind)
        except _Refusal as problem:
            self._fail(problem.status, str(problem))
        except VitrailError as problem:
            self._fail(400, str(problem))
        except ConnectionError:
            self.close_connection = True
        except Exception as problem:  # a thread that dies would leave the page waiting
            sys.stderr.write(f"{type(problem).__name__}: {problem}\n")
            self._fail(500, f"{type(problem).__name__}: {problem}")

    def _checked_path(self) -> tuple[str, dict[str, str]]:
        """The path behind the token, and the query."""
        port = self.server.server_port
        addresses = [f"{host}:{port}" for host in HOSTS]
        if self.headers.get_all("Host", []) not in [[address] for address in addresses]:
            raise _Refusal(421, f"Host is not this server: open {HOSTS[0]}:{port}.")
        origins = self.headers.get_all("Origin", [])
        if not set(origins) <= {f"http://{address}" for address in addresses}:
            raise _Refusal(403, "Origin is another site: only the page itself may ask.")
        parts = urlsplit(self.path)
        token, _slash, name = parts.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise _Refusal(404, "there is nothing: open the address that `vitrail explore` prints.")
        return name or "index.html", dict(parse_qsl(parts.query))

    def _get(self, name: str, query: dict[str, str]) -> tuple[bytes, str]:
        if name in page_files():
            return page_files()[name], content_type(name)
        explorer, key = self._explorer(query), query.get("id", "")
        documents: dict[str, Callable[[], dict[str, Any]]] = {
            "model": explorer.model_document,
            "trace": lambda: explorer.sample(_number(query, "sample")),
            "attention": lambda: explorer.attention_document(
                key, _number(query, "layer"), baseline=query.get("baseline") == "1"
            ),
            "similarity": lambda: explorer.similarity_document(key),
            "explain": lambda: explorer.explanation_document(
                key,
                query.get("name", ""),
                _number(query, "target") if query.get("target") else None,
            ),
            "walk": lambda: explorer.walk_document(
                key, _number(query, "layer"), _number(query, "patch")
            ),
            "scan": lambda: explorer.scan_document(key, _number(query, "layer")),
            "text": lambda: explorer.text_document(key, query.get("text", "")),
        }
        document = documents.get(name.removeprefix("api/")) if name.startswith("api/") else None
        if document is None:
            raise _Refusal(404, "there is no such file.")
        return _json(document())

    def _post(self, name: str, query: dict[str, str]) -> tuple[bytes, str]:
        if name != "api/trace":
            raise _Refusal(404, "only api/trace takes a picture.")
        data = self._body()
        return _json(self._explorer(query).add_picture(data, query.get("name", "image")[:200]))

    def _explorer(self, query: dict[str, str]) -> Explorer:
        """The model that a request is for: model=1 is the second one."""
        explorer = self.server.explorer
        if query.get("model", "0") == "0":
            return explorer
        if query["model"] != "1" or explorer.second is None:
            raise ConfigError(f"model={query['model'][:40]!r}: there is no such model.")
        return explorer.second

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or "Transfer-Encoding" in self.headers:
            raise _Refusal(411, "Content-Length is missing: send the bytes of one image file.")
        if len(length) > 12 or int(length) > MAX_UPLOAD:
            raise _Refusal(
                413, f"the file has more than {MAX_UPLOAD >> 20} MiB, the limit: make it smaller."
            )
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise _Refusal(400, "the picture ended before it was whole: send it again.")
        return data

    def _fail(self, status: int, reason: str) -> None:
        """Answers with one line, and closes: a body may be left unread."""
        self.close_connection = True
        with contextlib.suppress(ConnectionError):
            self._send(status, *_json({"error": " ".join(reason.split())}))

    def _send(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(data)), **HEADERS}
        if self.close_connection:
            headers["Connection"] = "close"
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(data)


def _json(document: dict[str, Any]) -> tuple[bytes, str]:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode(), content_type("x.json")


def _number(query: dict[str, str], name: str) -> int:
    """A whole number of a query."""
    text = query.get(name, "")
    if not (text.isascii() and text.removeprefix("-").isdecimal() and len(text) < 10):
        raise ConfigError(f"{name}={text[:40]!r} is no whole number.")
    return int(text)
