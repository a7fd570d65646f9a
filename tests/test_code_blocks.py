"""No block of code of any page is left out: it runs, its commands are parsed, or it says why not.

The Python of a page runs in `test_readme` or `test_your_own`. Here the commands of
all pages are parsed: they exist, and so do their options and settings.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml
from typer.exceptions import TyperException

from tests.pages import ROOT
from tests.test_readme import PAGES
from vitrail.cli.main import build_app
from vitrail.errors import ConfigError
from vitrail.train.settings import list_settings

tomllib = pytest.importorskip("tomllib")  # Python 3.11

BLOCK = re.compile(r"(<!-- not run: .+? -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
EVERY_PAGE = [
    ROOT / "README.md",
    ROOT / "README.zh.md",
    *sorted(ROOT.glob("docs/*/*.md")),
]
RUN_ELSEWHERE = {"your_own"}  # tests/test_your_own.py
LANGUAGES = {"", "bash", "sh", "console", "python", "text", "toml", "yaml"}
SETTING = re.compile(r"[a-z_]+(?:\.\w+)+=")


class Block(NamedTuple):
    """A block of code of a page."""

    page: Path
    is_skipped: bool
    language: str
    code: str


def all_blocks() -> list[Block]:
    return [
        Block(page, bool(skip), language, code)
        for page in EVERY_PAGE
        for skip, language, code in BLOCK.findall(page.read_text("utf-8"))
    ]


def commands(code: str) -> Iterator[list[str]]:
    """The commands of Vitrail in a block, in parts."""
    lines = re.sub(r"\\\n", " ", code).splitlines()
    for line in lines:
        for part in re.split(r"\s(?:&&|\|)\s", line.removeprefix("$ ")):
            match = re.search(r"(?:^|-m )vitrail (?!\.)(.*)", part.strip())
            if match and not part.startswith(("#", " -")):
                yield shlex.split(match[1], comments=True)


def test_every_fence_is_a_block() -> None:
    for page in EVERY_PAGE:
        text = page.read_text("utf-8")
        fences = len(re.findall("^```", text, re.MULTILINE))
        assert fences == 2 * len(BLOCK.findall(text)), page


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert {block.language for block in all_blocks()} <= LANGUAGES


def test_python_of_every_page_runs_somewhere() -> None:
    run = {str(ROOT / page) for page in PAGES}
    for block in all_blocks():
        if block.language != "python" or block.is_skipped:
            continue
        ast.parse(block.code)
        name = block.page.stem
        english = str(block.page).replace("/zh/", "/en/")
        assert {str(block.page), english} & run or name in RUN_ELSEWHERE, block.page


def test_data_can_be_read() -> None:
    for block in all_blocks():
        if block.language == "toml":
            tomllib.loads(block.code)
        if block.language == "yaml":
            yaml.safe_load(block.code)


def test_commands_exist_with_their_options_and_settings() -> None:
    app = typer.main.get_command(build_app())
    settings = [setting.name for setting in list_settings()]
    count = 0
    for block in all_blocks():
        for parts in [] if block.is_skipped else commands(block.code):
            count += 1
            try:
                check(app, parts, settings)
            except (AssertionError, TyperException) as problem:
                raise AssertionError(f"{block.page}: {' '.join(parts)}: {problem}") from problem
    assert count > 150


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("vitrail lok cat.jpg", "no command lok"),
        ("vitrail look cat.jpg --oot a.png", "no option --oot"),
        ("vitrail train folder:photos optim.rate=3", "no setting optim.rate"),
    ],
)
def test_a_wrong_command_is_found(line: str, problem: str) -> None:
    app = typer.main.get_command(build_app())
    settings = [setting.name for setting in list_settings()]
    with pytest.raises((AssertionError, TyperException, ConfigError), match=problem):
        check(app, next(commands(line)), settings)


def check(app: Any, parts: list[str], settings: list[str]) -> None:
    """Parses a command of Vitrail, without running it."""
    words, command, name = [part for part in parts if part != "..."], app, "vitrail"
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"no command {name}"
        command = command.commands[name]
    if hasattr(command, "commands"):  # vitrail --version
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(words) <= options | {"--help", "-h"}
    elif "--help" not in words:
        command.make_context(name, [*words])
    for word in words:
        if SETTING.match(word) and not word.startswith(("model.options.", "optim.per_module")):
            key = word.partition("=")[0]
            nested = [key.rsplit(".", n)[0] for n in range(key.count("."))]
            assert any(fnmatch(each, s) for each in nested for s in settings), f"no setting {key}"
