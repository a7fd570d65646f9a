"""What the command line and the reports say can be translated."""

import ast
import itertools
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest
import tomllib

from tests.cli.conftest import vitrail  # noqa: F401, a fixture
from vitrail import messages
from vitrail.cli.main import first_sentence
from vitrail.contract.checks import BrokenContractError, describe_problem
from vitrail.errors import ConfigError
from vitrail.messages import _, in_own_language, ngettext

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


def messages_in_the_code() -> dict[str, str]:
    """Every message, in the plural where it has one, and where it stands."""
    places = {}
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text("utf-8")
        speaks = "vitrail.messages import" in text or path == SOURCE / "messages.py"
        for call in calls_of_underscore(ast.parse(text)) if speaks else ():
            index = 1 if call.func.id == "ngettext" else 0  # type: ignore[attr-defined]
            message = call.args[index].value  # type: ignore[attr-defined]
            places[message] = f"{path.name}:{call.lineno}"
    return places


def placeholders(message: str) -> list[tuple[str | None, str | None, str | None]]:
    return sorted((part[1:] for part in Formatter().parse(message) if part[1] is not None), key=str)


def test_every_message_has_a_chinese_translation_with_its_placeholders() -> None:
    chinese = tomllib.loads((SOURCE / "locale" / "zh.toml").read_text("utf-8"))
    messages_here = messages_in_the_code()
    missing = [f"{place}: {text!r}" for text, place in messages_here.items() if text not in chinese]
    assert not missing, "add to src/vitrail/locale/zh.toml: " + "; ".join(missing)
    assert not set(chinese) - set(messages_here), "no code says this any more"
    for english, translation in chinese.items():
        assert placeholders(english) == placeholders(translation), translation
        assert english[:1].isspace() == translation[:1].isspace(), translation


@pytest.mark.parametrize(
    ("value", "expected"),
    [("zh_CN.UTF-8", "错误"), ("zh", "错误"), ("fr:zh_TW", "错误"), ("en_US:zh", "error"),
     ("C", "error"), ("fr", "error"), ("../zh", "error")],
)  # fmt: skip
def test_the_environment_chooses_the_language(
    value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGUAGE", value)
    messages._catalog.cache_clear()
    assert _("error: {problem}").startswith(expected)
    if expected == "错误":
        assert ngettext("{n:,} image", "{n:,} images", 1).format(n=1) == "1 张图片"
    messages._catalog.cache_clear()


def test_the_first_sentence_of_a_chinese_text_ends_with_its_own_full_stop() -> None:
    assert first_sentence("写出 .csv 文件。每张图片一行。") == "写出 .csv 文件。"
    assert first_sentence("Write a file. One line per image.") == "Write a file."
    assert first_sentence("no full stop") == "no full stop"


@pytest.mark.slow
def test_commands_have_whole_summaries_in_chinese() -> None:
    environment = {**os.environ, "LANGUAGE": "zh_CN", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "vitrail", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "..." not in done.stdout.split("Commands:")[1]
    assert "给出每张图片最可能的类别" in done.stdout


OF_PYTHON = {
    "AssertionError", "AttributeError", "FileNotFoundError", "ImportError", "IndexError",
    "KeyError", "ModuleNotFoundError", "NotImplementedError", "OSError", "RuntimeError",
    "StopIteration", "TypeError", "ValueError",
}  # fmt: skip

OF_CONTRACT = {  # the argument that is a sentence, or its beginning, and how that goes on
    "require": (1, [""]), "require_none": (1, [""]), "require_same": (0, [""]),
    "require_shape": (0, [" {}, and should be {}"]),
    "require_close": (0, [" are {} and {}", " differ by {}"]),
}  # fmt: skip


def sentences_of_errors() -> dict[str, str]:
    """Every sentence of an error with {0}, {1} for its values, and where it stands."""
    places = {}
    for path in sorted(SOURCE.rglob("*.py")):
        is_check = path.parent.name == "contract" and path.name != "checks.py"
        requires = OF_CONTRACT if is_check else {}
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            index, endings = requires.get(name, (0, [""]))
            if name not in requires and not is_error(name):
                continue
            sentence = node.args[index]
            parts = sentence.values if isinstance(sentence, ast.JoinedStr) else [sentence]
            if isinstance(sentence, ast.JoinedStr) or any(literal_texts(sentence)):
                for ending in endings:
                    text = template(parts, ending, name in requires)
                    places[text] = f"{path.relative_to(SOURCE)}:{node.lineno}"
    return places


def is_error(name: str) -> bool:
    return name == "error" or (name.endswith("Error") and name not in OF_PYTHON)


def template(parts: list[ast.expr], ending: str, is_format: bool) -> str:
    """A sentence with {0}, {1} for its values; also for each {} where it is a format."""
    count = itertools.count()
    text = "".join(
        str(part.value) if isinstance(part, ast.Constant) else f"{{{next(count)}}}"
        for part in parts
    )
    if is_format:
        count = itertools.count()
        text = re.sub(r"\{\d*\}", lambda _match: f"{{{next(count)}}}", text + ending)
    return text


def test_every_sentence_of_an_error_has_a_chinese_translation_with_its_values() -> None:
    files = sorted((SOURCE / "locale" / "zh_errors").glob("*.toml"))
    tables = [tomllib.loads(file.read_text("utf-8")) for file in files]
    errors = [pair for table in tables for pair in table.get("errors", {}).items()]
    parts = [pair for table in tables for pair in table.get("parts", {}).items()]
    here, translated = sentences_of_errors(), dict(errors)
    missing = [f"{place}: {text!r}" for text, place in here.items() if text not in translated]
    assert not missing, "add to locale/zh_errors/ROOM.toml: " + "; ".join(missing)
    assert len(here) > 700
    assert not set(translated) - set(here), "no code says this any more"
    assert len(errors) == len(translated), "a sentence is in two files"
    for english, chinese in errors + parts:
        values = [sorted(messages.PLACEHOLDER.findall(text)) for text in (english, chinese)]
        assert values[0] == values[1], chinese


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("no setting 'optim.lrr'. Did you mean 'optim.lr'? `vitrail config` lists all.",
         "没有设置 'optim.lrr'。您是否想写 'optim.lr'？全部设置见 `vitrail config`。"),
        ("cat.jpg: damaged JPEG (premature end).", "cat.jpg：JPEG 已损坏（premature end）。"),
        ("k=0 is not at least 1.", "k=0 不是至少为 1 的数。"),
        ("mixer: it broke.", "mixer: it broke."),
        ("Shut the window or open the door.", "Shut the window or open the door."),
        ("no folder 'vit', and a Hub id is organization/name. Did you mean 'vit_tiny'?",
         "没有文件夹 'vit'，而 Hub id 的形式是 组织/名称。您是否想写 'vit_tiny'？"),
        ("no layer is in []: there are 0 to 3.", "[] 中没有任何层：可用的序号为 0 到 3。"),
        ("calibration error", "校准误差"),
        ("logits are (2, 5), and should be (2, 9)", "logits 的形状为 (2, 5)，应为 (2, 9)"),
        ("on swin: no gradient reaches norm.bias and 2 more",
         "在 swin 上：没有得到梯度的参数：norm.bias，另有 2 个"),
        ("not called (evaluation, no gradients): head", "没有被调用（评估模式，无梯度）：head"),
    ],
)  # fmt: skip
def test_a_sentence_of_an_error_is_said_in_the_language_of_the_user(
    english: str, chinese: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGUAGE", "zh")
    assert in_own_language(english) == chinese
    monkeypatch.setenv("LANGUAGE", "en")
    assert in_own_language(english) == english


def test_the_contract_says_problems_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "zh")
    broken = BrokenContractError("method mae: the loss is not finite")
    assert describe_problem(broken) == "方法 mae：loss 不是有限值"
    assert describe_problem(ConfigError("k=0 is not at least 1.")) == "k=0 不是至少为 1 的数"


def test_the_command_line_says_errors_in_chinese(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGUAGE", "zh")
    messages._catalog.cache_clear()
    run = request.getfixturevalue("vitrail")
    code, _out, errors = run("train", "digits", "optim.lr")
    messages._catalog.cache_clear()
    assert (code, errors) == (
        2,
        "错误：设置 'optim.lr' 中没有 '='：请写成 optim.lr=0.001 的形式。\n",
    )
