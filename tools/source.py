"""The package's source as syntax trees, and the questions about them that the house rules share."""

import ast
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "vitrail"

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Violation(NamedTuple):
    """One place where a rule is broken. `rule`, `file` and `what` name it without its line."""

    rule: str
    file: str
    what: str
    line: int = 0

    @property
    def key(self) -> str:
        """The name by which an exception is listed."""
        return f"{self.rule} {self.file} {self.what}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.what}"


class Source:
    """One file of the package: its text, its lines and its tree.

    Args:
        file: path relative to the package, such as "layers/mlp.py".
        text: the file's content.
    """

    def __init__(self, file: str, text: str) -> None:
        self.file, self.text = file, text
        self.lines = text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        """The folder, or the name of a file beside the folders."""
        return self.file.split("/")[0].removesuffix(".py")

    def breaks(self, rule: str, what: str, node: ast.AST | None = None) -> Violation:
        """A violation in this file, at the node's line."""
        return Violation(rule, self.file, what, getattr(node, "lineno", 1))

    @cached_property
    def functions(self) -> list[tuple[str, Function]]:
        """Every function with its dotted name, those inside others too."""
        return list(_functions(self.tree, ""))

    @cached_property
    def public(self) -> list[ast.ClassDef | Function]:
        """Classes and functions of the module whose names have no leading underscore.

        A file whose own name has one, such as the kernels of a backend, has none.
        """
        if re.search(r"/_[a-z]", f"/{self.file}"):
            return []
        nodes = [n for n in self.tree.body if isinstance(n, ast.ClassDef | Function)]
        return [n for n in nodes if not n.name.startswith("_")]


def sources(folder: Path = PACKAGE) -> list[Source]:
    """All files of the package, in order, without those of the lessons: learners' code."""
    lessons = folder / "learn" / "lessons"
    paths = [path for path in sorted(folder.rglob("*.py")) if lessons not in path.parents]
    return [Source(p.relative_to(folder).as_posix(), p.read_text("utf-8")) for p in paths]


def _functions(tree: ast.AST, path: str) -> Iterator[tuple[str, Function]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | Function):
            name = f"{path}.{node.name}".strip(".")
            if isinstance(node, Function):
                yield name, node
            yield from _functions(node, name)
        else:
            yield from _functions(node, path)


def parameters(function: Function) -> list[ast.arg]:
    """All parameters but self and cls."""
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [a for a in every if a.arg not in ("self", "cls")]


def all_parameters(function: Function) -> list[ast.arg]:
    """All parameters but self and cls, with *args and **kwargs."""
    star = [a for a in (function.args.vararg, function.args.kwarg) if a]
    return [*parameters(function), *star]


def body(function: Function) -> list[ast.stmt]:
    """The statements after the docstring."""
    return function.body[1:] if ast.get_docstring(function) else function.body


def decorators(node: ast.ClassDef | Function) -> str:
    return " ".join(map(ast.unparse, node.decorator_list))


def is_kernel(function: Function) -> bool:
    """Whether a compiler, not a caller, reads its arguments: addresses, strides, sizes.

    A function called "_" repeats an operator's signature for its registration.
    """
    pattern = r"jit|kernel_function|operator|intrinsic"
    return function.name == "_" or bool(re.search(pattern, decorators(function)))


def is_declared_only(function: Function) -> bool:
    """Whether it only says what others must do.

    It has no body, only raises, or returns a constant: the default of a contract.
    """
    statements = body(function)
    first = statements[0] if len(statements) == 1 else None
    if isinstance(first, ast.Raise):
        return True
    if isinstance(first, ast.Return) and first.value is not None:
        return ast.unparse(first.value) in ("None", "()", "[]", "{}", "True", "False")
    return all(isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) for n in statements)


def base_names(node: ast.ClassDef) -> list[str]:
    """The last names of a class's bases: "Module" of `nn.Module`, "Dataset" of `Dataset[int]`."""
    plain = [b.value if isinstance(b, ast.Subscript) else b for b in node.bases]
    return [b.attr if isinstance(b, ast.Attribute) else getattr(b, "id", "") for b in plain]


def ancestors(files: list[Source]) -> dict[str, set[str]]:
    """Class name → the names of all classes that it inherits from, itself included."""
    bases: dict[str, set[str]] = {}
    for source in files:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                bases.setdefault(node.name, set()).update(base_names(node))
    closed = {name: {name} for name in bases}
    for names in closed.values():
        open_names = set(names)
        while open_names:
            open_names = {b for n in open_names for b in bases.get(n, ())} - names
            names |= open_names
    return closed
