"""What the command line and the reports say can be translated."""

import ast
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import vitrail  # noqa: F401, a fixture
from vitrail import messages
from vitrail.messages import _, ngettext

SOURCE = Path(__file__).parents[1] / "src" / "vitrail"


def write_catalog(path: Path, entries: dict[str, str]) -> None:
    """A compiled catalog, in the format that msgfmt writes."""
    pairs = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **entries}.items())
    coded = [(key.encode(), value.encode()) for key, value in pairs]
    offset = 28 + 16 * len(coded)
    tables: list[bytes] = []
    texts = b""
    for column in (0, 1):
        for pair in coded:
            tables.append(struct.pack("<II", len(pair[column]), offset + len(texts)))
            texts += pair[column] + b"\0"
    count = len(coded)
    head = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 28 + 16 * count)
    path.parent.mkdir(parents=True)
    path.write_bytes(head + b"".join(tables) + texts)


@pytest.fixture
def german(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A catalog with two messages, for the language of the environment."""
    entries = {
        "error: {problem}": "Fehler: {problem}",
        "{n} image\0{n} images": "{n} Bild\0{n} Bilder",
    }
    write_catalog(tmp_path / "locale" / "de" / "LC_MESSAGES" / "vitrail.mo", entries)
    monkeypatch.setattr(messages, "LOCALE", tmp_path / "locale")
    monkeypatch.setenv("LANGUAGE", "de")
    messages._catalog.cache_clear()
    yield
    messages._catalog.cache_clear()


def test_messages_are_english_without_a_catalog() -> None:
    assert _("error: {problem}") == "error: {problem}"
    assert ngettext("{n} image", "{n} images", 1) == "{n} image"
    assert ngettext("{n} image", "{n} images", 2) == "{n} images"


@pytest.mark.usefixtures("german")
def test_a_catalog_translates_the_command_line(request: pytest.FixtureRequest) -> None:
    assert ngettext("{n} image", "{n} images", 2) == "{n} Bilder"
    run = request.getfixturevalue("vitrail")
    code, _out, errors = run("models", "resnet*")
    assert code == 2
    assert errors.startswith("Fehler: no model matches")


def calls_of_underscore(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("_", "ngettext"):
                yield node


def test_messages_are_literals_that_can_be_extracted() -> None:
    count = 0
    for path in SOURCE.rglob("*.py"):
        text = path.read_text("utf-8")
        if "vitrail.messages import" not in text:
            continue
        for call in calls_of_underscore(ast.parse(text)):
            count += 1
            for argument in call.args[: 2 if call.func.id == "ngettext" else 1]:  # type: ignore[attr-defined]
                literal = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                assert literal, f"{path.name}:{call.lineno}: {ast.unparse(call)}"
    assert count > 100


def literal_texts(node: ast.expr) -> Iterator[str]:
    """The texts of a string or an f-string that stand in the code."""
    for part in node.values if isinstance(node, ast.JoinedStr) else [node]:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def test_nothing_that_the_command_line_prints_is_an_f_string_with_words() -> None:
    """`out.print(f"written: {path}")` could not be translated; names and numbers need not be."""
    for path in (SOURCE / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("out.print", "out.rule"):
                for text in literal_texts(node.args[0]) if node.args else ():
                    letters = "".join(c if c.isalpha() else " " for c in text).split()
                    assert {*letters} <= {"bold", "M", "G"}, f"{path.name}:{node.lineno}: {text!r}"
