"""Every example of every docstring runs, and prints what it says.

Examples see `torch`, `nn`, `vitrail` and the names of their own module.
"""

import ast
import doctest
import importlib
import os
from pathlib import Path

import pytest
import torch
from torch import nn

import vitrail
from tools.source import PACKAGE, Function, Source, sources

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FILES = [source.file for source in sources() if ">>>" in source.text]


def module_name(file: str) -> str:
    """ "layers/mlp.py" → "vitrail.layers.mlp"."""
    parts = ["vitrail", *file.removesuffix(".py").split("/")]
    return ".".join(part for part in parts if part != "__init__")


def examples_of(file: str) -> list[doctest.DocTest]:
    """The docstrings of a file that have examples."""
    name = module_name(file)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("vitrail"):
            raise
        pytest.skip(f"{error.name} is not installed")
    names = {"torch": torch, "nn": nn, "vitrail": vitrail, **vars(module)}
    tests = doctest.DocTestFinder(exclude_empty=True).find(module, name, globs=names)
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("file", FILES)
def test_the_examples_of_a_file_run(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tests = examples_of(file)
    collected = {test.name.removeprefix(f"{module_name(file)}.") for test in tests}
    source = Source(file, (PACKAGE / file).read_text("utf-8"))
    assert with_examples(source) <= collected, "an example that no doctest reads"
    runner = doctest.DocTestRunner(verbose=False, optionflags=OPTIONS)
    report: list[str] = []
    for test in tests:
        torch.manual_seed(0)
        runner.run(test, out=report.append)
    assert not runner.summarize(verbose=False).failed, "".join(report)
    assert not os.listdir(tmp_path), "an example writes files and leaves them"


def with_examples(source: Source) -> set[str]:
    """Dotted names of the public objects whose docstring has an example."""
    names = set()
    for node in source.public:
        members = node.body if isinstance(node, ast.ClassDef) else []
        inner = [(f"{node.name}.{m.name}", m) for m in members if isinstance(m, Function)]
        for name, part in [(node.name, node), *inner]:
            if ">>>" in (ast.get_docstring(part) or ""):
                names.add(name)
    return names


def test_a_wrong_example_fails() -> None:
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "x", None, 0)
    runner = doctest.DocTestRunner(verbose=False, optionflags=OPTIONS)
    assert runner.run(test, out=lambda text: None).failed
