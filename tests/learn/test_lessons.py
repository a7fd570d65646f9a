"""Every lesson holds what it promises; `make course` proves all of them and prints the shares."""

import re

import pytest
from typer.testing import CliRunner

from tools.course import prove
from vitrail.cli.main import build_app
from vitrail.learn import all_lessons, find_lesson

QUICK = ("core/patch_embed", "core/attention")  # the others are proven by `make course`
SLOW = [lesson.id for lesson in all_lessons() if lesson.id not in QUICK]


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_a_lesson_is_proven(name: str) -> None:
    proof = prove(find_lesson(name), pairs=name in QUICK[:1])
    assert not proof.problems
    assert proof.diagnosed == proof.wrong >= 5
    assert proof.named >= 0.7 * proof.pairs


def test_the_commands_that_lessons_name_exist() -> None:
    """With their options, as the help of each says."""
    named = set[str]()
    for lesson in all_lessons():
        for file in lesson.folder.iterdir():
            if file.suffix in (".md", ".toml"):
                named |= set(re.findall(r"`vitrail ([^`]*)`", file.read_text("utf-8")))
    assert len(named) > 5
    for line in named:
        name, *words = line.split()
        group = words[:1] if name == "learn" else []
        result = CliRunner().invoke(build_app(), [name, *group, "--help"])
        assert result.exit_code == 0, line
        options = set(re.findall(r"--[a-z-]+", result.output))
        assert {word for word in words if word.startswith("--")} <= options, line
