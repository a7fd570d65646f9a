"""Wrong and odd values of every option and argument of every command: one line and exit code 2.

Commands and their options are found in the application; `CALLS` has a valid call of each.
"""

from pathlib import Path
from typing import Any

import pytest
import typer.main

from tests.cli.conftest import Command
from tests.hunt.kit import Kit
from vitrail.cli.main import build_app

COMMANDS: dict[str, Any] = typer.main.get_command(build_app()).commands  # type: ignore[attr-defined]

# Arguments that a command needs, before the option that is wrong.
CALLS: dict[str, list[str]] = {
    "eval": ["{model}", "--data", "folder:{photos}"],
    "predict": ["{photo}", "-m", "{model}"],
    "look": ["{photo}", "-m", "{model}"],
    "info": ["{model}"],
    "models": [],
    "methods": [],
    "check": ["rollout"],
    "convert": ["{model}", "copy"],
    "export": ["{model}", "model.onnx"],
}
ODD = ("", " ", "没有", "=", "../..", "x" * 300, "1.5", "0", "-1", "nan", "9" * 30)


def odd_calls(name: str) -> list[list[str]]:
    """Arguments of a command: an odd value of an option, a misspelt one, too many."""
    calls = [["--no-such-option"], ["没有"] * 9]
    for parameter in COMMANDS[name].params:
        if parameter.opts[0].startswith("-") and not getattr(parameter, "is_flag", False):
            calls += [[parameter.opts[0], value] for value in ODD]
    return calls


@pytest.mark.parametrize("name", CALLS)
def test_odd_options(name: str, vitrail: Command, tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    paths = {"photo": kit.photo, "photos": kit.photos, "model": kit.folder}
    call = [argument.format(**paths) for argument in CALLS[name]]
    wrong = []
    for odd in odd_calls(name):
        code, _, errors = vitrail(name, *call, *odd)
        lines = [line for line in errors.splitlines() if line.lower().startswith("error:")]
        if code not in (0, 1, 2) or "Traceback" in errors or (code == 2 and len(lines) != 1):
            wrong.append((odd, code, errors[-300:]))
    assert not wrong
