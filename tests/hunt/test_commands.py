"""Wrong and odd values of every option and argument of every command: one line and exit code 2.

Commands, options and arguments are problems in the application; `CALLS` has a valid call of each.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from tests.cli.conftest import Command, write_recipe
from tests.hunt.kit import SMALL, Kit
from vitrail.cli.main import build_app
from vitrail.errors import ConfigError, VitrailError
from vitrail.train import make_config
from vitrail.train.settings import list_settings

COMMANDS: dict[str, Any] = typer.main.get_command(build_app()).commands  # type: ignore[attr-defined]


class Call(NamedTuple):
    """A valid call of a command.

    Args:
        arguments: its arguments, by position; odd values take the place of each.
        options: options that follow.
        more: what may follow all arguments, with an odd value at its end.
    """

    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


CALLS: dict[str, Call] = {
    "train": Call(("{recipe}",), ("--dry-run",), ("optim.lr=", "data.", "schedule.epochs=", "")),
    "eval": Call(("{model}",), ("--data", "folder:{photos}")),
    "predict": Call(("{photo}",), ("-m", "{model}")),
    "features": Call(("{photo}",), ("-m", "{model}", "--force")),
    "look": Call(("{photo}",), ("-m", "{model}")),
    "explore": Call(("{model}", "{photo}"), ("--export", "page")),
    "report": Call(("run",)),
    "note": Call(("run", "a remark")),
    "config": Call(("optim",)),
    "info": Call(("{model}",)),
    "models": Call(),
    "methods": Call(),
    "data": Call(("folder:{photos}",), (), ("data.limit=", "data.augment.flip=", "")),
    "pack": Call(("folder:{photos}", "packed")),
    "check": Call(("rollout",)),
    "explain": Call(
        ("compare", "{model}"),
        ("--images", "{photos}", "--count", "2", "--explanations", "rollout", "--force"),
    ),
    "convert": Call(("{model}", "copy")),
    "export": Call(("{model}", "model.onnx")),
    "demo": Call(),
    "learn": Call(("list",)),
}
ODD = ("", " ", "没有", "=", "../..", "x" * 300, "1.5", "0", "-1", "nan", "9" * 30)
SAMPLE = 13  # of so many calls, one is tried in every run of the tests


def odd_calls(name: str, call: Call) -> Iterator[tuple[str, ...]]:
    """The arguments of a command with odd values, and with too many, option by option."""
    valid = (*call.arguments, *call.options)
    yield (*valid, "--no-such-option")
    yield (*valid, *["没有"] * 9)
    for position in range(len(call.arguments)):
        for value in ODD:
            changed = list(call.arguments)
            changed[position] = value
            yield (*changed, *call.options)
    for prefix in call.more:
        for value in ODD:
            yield (*valid, prefix + value)
    for parameter in COMMANDS[name].params:
        if parameter.opts[0].startswith("-") and not getattr(parameter, "is_flag", False):
            for value in ODD:
                yield (*valid, parameter.opts[0], value)


def paths_in(folder: Path) -> set[Path]:
    """All files and folders below a folder, without those that a reader of images keeps."""
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


class Hunt:
    """Runs commands in a folder of a folder, and sees what they write.

    Args:
        command: runs a command.
        root: an empty folder.
        paths: what the names in braces stand for.
    """

    def __init__(
        self, command: Command, root: Path, paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.command, self.root, self.paths = command, root, paths
        self.folder = root / "above" / "here"
        shutil.copytree(paths["run"], self.folder / "run")
        monkeypatch.chdir(self.folder)
        monkeypatch.setattr("vitrail.cli.demo._pretrained", list)
        monkeypatch.setattr(
            "vitrail.cli.demo._train", lambda folder, model, epochs: ("", folder / "report.html")
        )

    def problem(self, *arguments: str) -> str:
        """What is wrong with how a command ends; "" where nothing is."""
        outside = paths_in(self.root) - paths_in(self.folder)
        inside = paths_in(self.folder)
        code, _, errors = self.command(*(a.format(**self.paths) for a in arguments))
        lines = [line for line in errors.splitlines() if line.lower().startswith("error:")]
        if code not in (0, 1, 2) or "Traceback" in errors or (code == 2 and len(lines) != 1):
            return f"code {code}: {errors[-300:]}"
        if written := paths_in(self.root) - paths_in(self.folder) - outside:
            return f"written outside: {sorted(written)}"
        if code and (written := paths_in(self.folder) - inside):
            return f"written, although code is {code}: {sorted(written)}"
        return ""

    def problems(self, calls: Iterator[tuple[str, ...]], name: str) -> list[tuple[Any, str]]:
        """The calls that end wrongly, and how."""
        outcomes = [(arguments, self.problem(name, *arguments)) for arguments in calls]
        return [(arguments, problem) for arguments, problem in outcomes if problem]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files and folders for valid calls."""
    root = tmp_path_factory.mktemp("kit")
    kit = Kit(root)
    recipe = write_recipe(
        root / "recipe.yaml",
        model={"options": SMALL},
        data={"source": f"folder:{kit.photos}", "batch_size": 2},
    )
    return {
        "photo": kit.photo, "photos": kit.photos, "model": kit.folder, "recipe": recipe,
        "run": kit.run.folder,
    }  # fmt: skip


@pytest.fixture
def hunt(
    vitrail: Command, tmp_path: Path, paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> Hunt:
    """Commands in a folder that holds a run."""
    return Hunt(vitrail, tmp_path, paths, monkeypatch)


def test_every_command_has_a_valid_call() -> None:
    assert COMMANDS.keys() == CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_odd_values(name: str, hunt: Hunt, monkeypatch: pytest.MonkeyPatch) -> None:
    def translate(*_arguments: object) -> None:
        raise ConfigError("this takes seconds, and every argument was checked before.")

    monkeypatch.setattr("vitrail.deploy.export._translate", translate)
    calls = list(odd_calls(name, CALLS[name]))
    assert not hunt.problems(iter([*calls[:2], *calls[SAMPLE::SAMPLE]]), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_all_odd_values(name: str, hunt: Hunt) -> None:
    assert not hunt.problems(odd_calls(name, CALLS[name]), name)


def problem_of_setting(name: str, text: str) -> str:
    """What is wrong with how a value of a setting is refused; "" where nothing is."""
    try:
        make_config({}, [f"{name}={text}"])
    except VitrailError as problem:
        return "" if "\n" not in str(problem) else f"{name}={text}: {problem}"
    except Exception as problem:  # whatever it raises
        return f"{name}={text}: {type(problem).__name__}: {problem}"
    return ""


def test_odd_values_of_all_settings() -> None:
    names = sorted({setting.name for setting in list_settings() if not setting.method})
    values = (*ODD, "null", "[]", "{}", "[1, 2, 3]", "true", "{a: b}", "[[]]", "1e400", "'1'")
    assert len(names) > 60
    wrong = [problem_of_setting(name, value) for name in names for value in values]
    assert not [line for line in wrong if line]
