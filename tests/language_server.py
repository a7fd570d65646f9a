"""An editor in a few lines: it opens scripts in basedpyright's language server."""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any


class Editor:
    """A language server that completes and checks what is typed in one file.

    Args:
        folder: an empty folder, for the file.
    """

    def __init__(self, folder: Path) -> None:
        settings = {"typeCheckingMode": "standard", "pythonVersion": "3.11", "reportAny": "error"}
        (folder / "pyrightconfig.json").write_text(json.dumps(settings))
        self.folder, self.file, self.last_id, self.version = folder, folder / "script.py", 0, 0
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("basedpyright-langserver"), "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.request(
            "initialize",
            rootUri=folder.as_uri(),
            workspaceFolders=[{"uri": folder.as_uri(), "name": "folder"}],
            capabilities={
                "workspace": {"configuration": True, "workspaceFolders": True},
                "textDocument": {"publishDiagnostics": {"versionSupport": True}},
            },
        )
        self.notify("initialized")
        document = {"uri": self.file.as_uri(), "languageId": "python", "version": 0, "text": ""}
        self.notify("textDocument/didOpen", textDocument=document)

    def __enter__(self) -> "Editor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def write(self, text: str) -> None:
        """Makes a text all that the file holds."""
        self.version += 1
        document = {"uri": self.file.as_uri(), "version": self.version}
        change = {"text": text}
        self.notify("textDocument/didChange", textDocument=document, contentChanges=[change])

    def diagnostics(self, text: str) -> list[dict[str, Any]]:
        """What the server says of a text, which is all that the file holds."""
        self.write(text)
        while True:
            message = self._read()
            self._answer(message)
            parameters = message.get("params", {})
            if (
                message.get("method") == "textDocument/publishDiagnostics"
                and parameters["uri"] == self.file.as_uri()
                and parameters.get("version") == self.version
            ):
                return parameters["diagnostics"]

    def completions(self, text: str, after: str = "") -> set[str]:
        """What the server offers between two texts, which are all that the file holds."""
        self.write(text + after)
        *before, last = text.split("\n")
        position = {"line": len(before), "character": len(last)}
        document = {"uri": self.file.as_uri()}
        answer = self.request("textDocument/completion", textDocument=document, position=position)
        return {item["label"].rstrip("=") for item in answer["items"]} if answer else set()

    def request(self, method: str, **parameters: Any) -> Any:
        """The server's answer. Its own questions, for settings, are answered on the way."""
        self.last_id += 1
        self._write({"id": self.last_id, "method": method, "params": parameters})
        while True:
            message = self._read()
            if "method" not in message and message.get("id") == self.last_id:
                return message["result"]
            self._answer(message)

    def _answer(self, message: dict[str, Any]) -> None:
        if "method" in message and "id" in message:
            settings = {
                "python": {"pythonPath": sys.executable},
                # Of all that is installed, which takes seconds each.
                "basedpyright": {"analysis": {"autoImportCompletions": False}},
            }
            items = message.get("params", {}).get("items", [])
            answer = [settings.get(item.get("section"), {}) for item in items]
            self._write({"id": message["id"], "result": answer})

    def notify(self, method: str, **parameters: Any) -> None:
        self._write({"method": method, "params": parameters})

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        length = 0
        while line := self.process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        assert length, "the language server has ended"
        return json.loads(self.process.stdout.read(length))
