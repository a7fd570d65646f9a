"""The house rule of docstrings: what a public object says of its arguments, its result, its errors
and its use, in the form of `STYLE.md`.
"""

import ast
import re
from collections.abc import Iterator

from tools.source import (
    Function,
    Source,
    Violation,
    all_parameters,
    ancestors,
    base_names,
    decorators,
    is_kernel,
)

HEADINGS = ("Args", "Returns", "Yields", "Raises", "Example", "Attributes")
# Methods that PyTorch declares: their docstring may be one line with the shapes.
DECLARED_BY_TORCH = {
    "forward", "extra_repr", "reset_parameters", "train", "state_dict", "load_state_dict",
    "backward", "setup_context", "apply", "step",
}  # fmt: skip
FIELDS = {"NamedTuple", "TypedDict"}


def sections(docstring: str) -> dict[str, str]:
    """Heading → the indented text under it."""
    pattern = rf"^ *({'|'.join(HEADINGS)})s?:[ \t]*\n((?:[ \t]+\S.*\n?|[ \t]*\n)*)"
    return dict(re.findall(pattern, docstring + "\n", re.MULTILINE))


def is_described(name: str, text: str) -> bool:
    """Whether a line of an `Args:` section begins with the name, alone."""
    return bool(
        re.search(rf"^\s*\*{{0,2}}{re.escape(name)}( \([^)]*\))?:\s*\S", text, re.MULTILINE)
    )


def incomplete(files: list[Source]) -> Iterator[Violation]:
    """Public objects whose docstring lacks one of the parts."""
    lineage = ancestors(files)
    declared = _declared_methods(files)
    for source in files:
        if not ast.get_docstring(source.tree):
            yield source.breaks("docstring", "module")
        for node in source.public:
            if isinstance(node, ast.ClassDef):
                yield from _class(source, node, lineage, declared)
            else:
                yield from _function(source, node, node.name)


def _declared_methods(files: list[Source]) -> dict[str, set[str]]:
    """Class name → names of its methods."""
    methods: dict[str, set[str]] = {}
    for source in files:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                own = {m.name for m in node.body if isinstance(m, Function)}
                methods.setdefault(node.name, set()).update(own)
    return methods


def _function(source: Source, node: Function, name: str) -> Iterator[Violation]:
    """A function of a module: all parts."""
    docstring = ast.get_docstring(node)
    if not docstring:
        yield source.breaks("docstring", name, node)
        return
    if is_kernel(node) or "overload" in decorators(node):
        return
    if not (source.room == "cli" and _is_command(node)):  # its options have a help text each
        yield from _signature(source, node, name, docstring)
        if ">>>" not in docstring:
            yield source.breaks("example", name, node)


def _is_command(node: Function) -> bool:
    return node.name == "run" or any(
        "Option" in ast.unparse(a) or "Argument" in ast.unparse(a) for a in node.args.args
    )


def _signature(source: Source, node: Function, name: str, docstring: str) -> Iterator[Violation]:
    parts = sections(docstring)
    for argument in all_parameters(node):
        if not argument.arg.startswith("_") and not is_described(
            argument.arg, parts.get("Args", "")
        ):
            yield source.breaks("args", f"{name} {argument.arg}", node)
    returns = ast.unparse(node.returns) if node.returns else "None"
    if returns not in ("None", "NoReturn", "Never") and not parts.keys() & {"Returns", "Yields"}:
        yield source.breaks("returns", name, node)
    if _raises(node) and "Raises" not in parts:
        yield source.breaks("raises", name, node)


def _raises(node: Function) -> bool:
    """Whether the function itself raises one of the package's errors."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Raise) and inner.exc is not None:
            name = ast.unparse(inner.exc.func if isinstance(inner.exc, ast.Call) else inner.exc)
            if re.search(r"(Config|Data|Tier|Vitrail|Format)\w*Error$", name):
                return True
    return False


def _class(
    source: Source, node: ast.ClassDef, lineage: dict[str, set[str]], methods: dict[str, set[str]]
) -> Iterator[Violation]:
    docstring = ast.get_docstring(node)
    if not docstring:
        yield source.breaks("docstring", node.name, node)
        return
    if ">>>" not in docstring:
        yield source.breaks("example", node.name, node)
    parts = sections(docstring)
    described = parts.get("Args", "") + parts.get("Attributes", "")
    for name in _constructor_arguments(node):
        if not is_described(name, described):
            yield source.breaks("args", f"{node.name} {name}", node)
    constructor = next((m for m in _methods(node) if m.name == "__init__"), None)
    if constructor and _raises(constructor) and "Raises" not in parts:
        yield source.breaks("raises", node.name, node)
    inherited = {m for base in lineage[node.name] - {node.name} for m in methods.get(base, ())}
    for method in _methods(node):
        if not method.name.startswith("_"):
            yield from _method(source, node, method, inherited)


def _methods(node: ast.ClassDef) -> list[Function]:
    return [m for m in node.body if isinstance(m, Function)]


def _constructor_arguments(node: ast.ClassDef) -> list[str]:
    """Arguments of the class's own constructor, written or made of its fields."""
    for method in _methods(node):
        if method.name == "__init__":
            return [a.arg for a in all_parameters(method) if not a.arg.startswith("_")]
    if not (FIELDS & set(base_names(node)) or "dataclass" in decorators(node)):
        return []
    fields = [
        n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    ]
    names = [f.target.id for f in fields if "ClassVar" not in ast.unparse(f.annotation)]  # type: ignore[union-attr]
    return [n for n in names if not n.startswith("_")]


def _method(
    source: Source, owner: ast.ClassDef, method: Function, inherited: set[str]
) -> Iterator[Violation]:
    """A method: a docstring; of one that no base class declares, what it takes and returns."""
    name = f"{owner.name}.{method.name}"
    docstring = ast.get_docstring(method)
    if not docstring:
        yield source.breaks("docstring", name, method)
        return
    declared = method.name in inherited | DECLARED_BY_TORCH
    by_shape = "→" in docstring and all(
        re.search(rf"\b{re.escape(a.arg)}\b", docstring) for a in all_parameters(method)
    )
    if declared or by_shape or "overload" in decorators(method) or "setter" in decorators(method):
        return
    if all_parameters(method) or _raises(method):
        yield from _signature(source, method, name, docstring)
