"""Recipes and settings of runs from strangers."""

import os
from pathlib import Path

import pytest

from tests.security.refusal import SECRET, canary, outcome
from vitrail.errors import ConfigError
from vitrail.run_folder import RunFolder
from vitrail.train.config import make_config, read_config

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{','.join([f'*{chr(97 + i)}'] * 10)}]}}\n"
    for i in range(8)
)
# COMMAND stands for a command that would make a file, PIPE for a named pipe.
YAML = [
    "!!python/object/apply:os.system ['COMMAND']",
    "a: !!python/object/apply:os.system ['COMMAND']",
    "!!python/object/new:os.system ['COMMAND']",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/object:os.path {}",
    "!!python/tuple [1, 2]",
    "%TAG ! tag:yaml.org,2002:python/\n---\n!object/apply:os.system ['COMMAND']",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['COMMAND']",
    "optim: {lr: !!python/object/apply:eval ['1']}",
    "!!binary x",
    "a: !!set {x}",
    "a: !!int x",
    "a: !!timestamp x",
    "a: !own {x: 1}",
    "a: ! x",
    LAUGHS,
    MERGES,
    f"model:\n  options: &o {{a: [{'1,' * 5000}]}}\n  b: [{'*o,' * 5000}]",
    "&a [*a]",
    "model: &m {options: *m}",
    "a: *nowhere",
    "<<: 3",
    "<<: [1]",
    "[" * 3000,
    "{a: " * 3000,
    "- " * 3000 + "x",
    "".join(" " * i + "a:\n" for i in range(500)),
    f"train: {{seed: {'9' * 5000}}}",
    "train: {seed: 2001-99-99}",
    "? [a]\n: b",
    "? {a: b}\n: c",
    "a: b: c",
    "\0",
    "a: 1\n---\nb: 2",
    "x" * (2**18 + 1),
    "[1, 2]",
    "just a text",
    "=",
    "optim: {lr: .inf}",
    "optim: {betas: [.nan, 5]}",
    "schedule: {epochs: -1}",
    "1: 2",
    "method: []",
    "method: null",
    "method: {name: null}",
    "method: {name: [1]}",
    "train: 3",
    "model: {options: [1]}",
    '"\\e[31mred": 1',
]


@pytest.mark.parametrize("text", YAML, ids=lambda text: text[:24].encode("unicode_escape").decode())
def test_hostile_settings_are_one_line(text: str, tmp_path: Path) -> None:
    file, command = canary(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text.replace("COMMAND", command), "utf-8")
    assert outcome(lambda: read_config(recipe)) is not None
    (tmp_path / "run.yaml").write_bytes(recipe.read_bytes())
    outcome(lambda: RunFolder(tmp_path).settings)
    override = text.replace("COMMAND", command)
    outcome(lambda: make_config({}, [f"model.options={override}"]))
    outcome(lambda: make_config({}, [override]))
    assert not file.exists()


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("recipe.yaml", "this file itself"),
        ("./recipe.yaml", "this file itself"),
        ("other.yaml", "leads back"),
        ("chain0.yaml", "more than 16 files"),
        ("../../secret.yaml", "neither in the recipe's folder"),
        ("ABSOLUTE", "neither in the recipe's folder"),
        ("link.yaml", "neither in the recipe's folder"),
        ("/etc/passwd", "neither in the recipe's folder"),
        ("/dev/zero", "neither in the recipe's folder"),
        ("pipe.yaml", "no regular file"),
        (".", "no regular file"),
        ("nowhere.yaml", "cannot be read"),
        ("[1]", "no path of a file"),
        ("3", "no path of a file"),
        ("{a: 1}", "no path of a file"),
        ('"a\\0b"', "no path of a file"),
        ("x" * 5000, "cannot be read"),
        ("'\\e'", "cannot be read"),
    ],
    ids=lambda value: value[:20],
)
def test_bases(base: str, words: str, tmp_path: Path) -> None:
    folder = tmp_path / "far" / "recipes"
    folder.mkdir(parents=True)
    secret = tmp_path / "secret.yaml"
    secret.write_text(SECRET)
    (folder / "link.yaml").symlink_to(secret)
    os.mkfifo(folder / "pipe.yaml")
    (folder / "other.yaml").write_text("base: recipe.yaml")
    for number in range(40):
        (folder / f"chain{number}.yaml").write_text(f"base: chain{number + 1}.yaml")
    (folder / "recipe.yaml").write_text(f"base: {base.replace('ABSOLUTE', str(secret))}")
    problem = outcome(lambda: read_config(folder / "recipe.yaml"))
    assert isinstance(problem, ConfigError)
    assert words in str(problem)


def test_aliases_within_reason_are_read(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("optim: &o {lr: 0.5}\nmodel:\n  options: {<<: *o}\n")
    config = read_config(recipe)
    assert (config.optim.lr, config.model.options) == (0.5, {"lr": 0.5})
