"""The house rules, as a test. To change one, change it here; an exception gives its reason."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "vitrail"

ARGUMENTS, MODEL_ARGUMENTS, FUNCTION_LINES, FILE_LINES = 12, 16, 80, 400

# What each room may import, besides itself and the two files everybody may: errors and files.
LAYERS = {
    "ops": set(),
    "layers": {"ops"},
    "models": {"layers", "ops"},
    "methods": {"models", "layers"},
    "data": set(),
    "hub": {"methods", "models", "layers", "data"},
    "lens": {"models", "layers", "ops", "data", "hub"},
    "deploy": {"models", "layers", "ops", "data", "hub"},
    "train": {"methods", "models", "layers", "data", "hub", "lens"},
    "cli": {"train", "methods", "models", "layers", "data", "hub", "lens", "deploy"},
}
OPEN_TO_ALL = {"errors", "files"}

# Every exception, with its reason. One that is no longer needed fails the test.
EXCEPTIONS = {
    "arguments models/vit.py ViT.__init__": "norm_eps, the 17th: transformers' ViT needs 1e-12",
    "unread models/base.py Sequence.context features": "a contract, read by those who keep it",
    "unread models/base.py Backbone.positions_at grid": "a contract, read by those who keep it",
    "unread methods/base.py Method.reconstruct images": "a contract, as above",
    "unread methods/base.py Pretraining.classifier backbone": "a contract, as above",
    "unread ops/causal_conv/op.py _keep output": "called by name, by PyTorch",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
CODE = re.compile(
    r"^#\s*(import \w|from \w+ import|return\b|def \w+\(|class \w+|\w+(\.\w+)* = \w|\w+\(.*\)$)"
)
WORKPLACE = re.compile(
    r"(?<![\w/.])/(work|root|home)/\w|pypi\.org|files\.pythonhosted|deb\.debian\.org"
)


def functions(tree: ast.AST, path: str = "") -> Iterator[tuple[str, Function]]:
    """Every function with its dotted name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | Function):
            name = f"{path}.{node.name}".strip(".")
            if isinstance(node, Function):
                yield name, node
            yield from functions(node, name)


def parameters(function: Function) -> list[ast.arg]:
    """All parameters but self and cls."""
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [a for a in every if a.arg not in ("self", "cls")]


def is_model_constructor(file: str, name: str) -> bool:
    return file.startswith("models/") and name.endswith(".__init__") and "base.py" not in file


def is_kernel(function: Function) -> bool:
    """Whether a compiler, not a caller, reads its arguments: addresses, strides, sizes.

    A function called "_" repeats an operator's signature for its registration.
    """
    decorators = " ".join(map(ast.unparse, function.decorator_list))
    return function.name == "_" or bool(re.search(r"jit|kernel_function|custom_op", decorators))


def too_many_arguments(file: str, tree: ast.AST) -> Iterator[str]:
    for name, function in functions(tree):
        limit = MODEL_ARGUMENTS if is_model_constructor(file, name) else ARGUMENTS
        # A command's arguments are its options: each is one line of its help.
        if file.startswith("cli/") or is_kernel(function):
            continue
        if len(parameters(function)) > limit:
            yield f"arguments {file} {name}"


def open_ended_models(file: str, tree: ast.AST) -> Iterator[str]:
    for name, function in functions(tree):
        if is_model_constructor(file, name) and (function.args.kwarg or function.args.vararg):
            yield f"open-ended {file} {name}"


def too_long(file: str, tree: ast.AST) -> Iterator[str]:
    for name, function in functions(tree):
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES:
            yield f"long {file} {name}"


def is_declared_only(function: Function) -> bool:
    """Whether it only says what others must do: no body, or one that raises NotImplementedError."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    raised = body[0].exc if len(body) == 1 and isinstance(body[0], ast.Raise) else None
    empty = all(isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) for n in body)
    return empty or (isinstance(raised, ast.Name) and raised.id == "NotImplementedError")


def unread_arguments(file: str, tree: ast.AST) -> Iterator[str]:
    for name, function in functions(tree):
        if is_declared_only(function) or function.name == "_":
            continue
        read = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
        every = [*parameters(function), function.args.vararg, function.args.kwarg]
        for argument in every:
            if argument and argument.arg not in read and not argument.arg.startswith("_"):
                yield f"unread {file} {name} {argument.arg}"


def prints(file: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ):
            yield f"print {file} line {node.lineno}"


def wrong_way_imports(file: str, tree: ast.AST) -> Iterator[str]:
    room = file.split("/")[0]
    if room not in LAYERS:
        return
    for node in ast.walk(tree):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            parts = name.split(".")
            if parts[0] == "vitrail" and len(parts) > 1:
                other = parts[1]
                if other not in {room} | LAYERS[room] | OPEN_TO_ALL:
                    yield f"import {file} {other}"


def undocumented(file: str, tree: ast.AST) -> Iterator[str]:
    if not ast.get_docstring(tree):  # type: ignore[arg-type]
        yield f"docstring {file}"
    public = [n for n in ast.iter_child_nodes(tree) if isinstance(n, ast.ClassDef | Function)]
    methods = [
        m
        for n in public
        if isinstance(n, ast.ClassDef) and not n.name.startswith("_")
        for m in n.body
    ]
    for node in [*public, *methods]:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield f"docstring {file} {node.name}"


def commented_out(file: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if CODE.match(line.strip()) and "noqa" not in line:
            yield f"commented-out {file} line {number}"


PER_TREE = (
    too_many_arguments, open_ended_models, too_long, unread_arguments, prints, wrong_way_imports,
    undocumented,
)  # fmt: skip


def copies(trees: dict[str, ast.AST]) -> Iterator[str]:
    """Definitions of more than three lines with the same body under any name."""
    places = defaultdict(list)
    for file, tree in trees.items():
        for name, function in functions(tree):
            body = function.body[1:] if ast.get_docstring(function) else function.body
            if body and (body[-1].end_lineno or 0) - body[0].lineno >= 3:
                key = "".join(map(ast.dump, body))
                places[key].append(f"{file} {name}")
    for same in places.values():
        if len(same) > 1:
            yield f"copy {' = '.join(sorted(same))}"


def findings() -> set[str]:
    files = {p.relative_to(SOURCE).as_posix(): p.read_text("utf-8") for p in SOURCE.rglob("*.py")}
    trees = {file: ast.parse(text) for file, text in files.items()}
    found = {f for file, tree in trees.items() for rule in PER_TREE for f in rule(file, tree)}
    for file, text in files.items():
        found |= set(commented_out(file, text))
        if text.count("\n") > FILE_LINES:
            found.add(f"long {file}")
    return found | set(copies(trees))


def test_the_rules_hold() -> None:
    broken = findings()
    assert sorted(broken - EXCEPTIONS.keys()) == []
    assert sorted(EXCEPTIONS.keys() - broken) == [], "exceptions that are no longer needed"


def test_nothing_speaks_of_the_workplace() -> None:
    spoken = []
    for pattern in ("*.md", "*.py", "*.toml", "*.txt", "*.yaml", "Makefile", "*.json"):
        for path in ROOT.rglob(pattern):
            inside = path.relative_to(ROOT)
            if path != Path(__file__) and not {".venv", "runs", "site", ".git"} & set(inside.parts):
                if match := WORKPLACE.search(path.read_text("utf-8", errors="ignore")):
                    spoken.append(f"{inside}: {match[0]}")
    assert not spoken


@pytest.mark.parametrize(
    ("rule", "file", "code"),
    [
        (too_many_arguments, "x.py", f"def f({', '.join(f'a{i}' for i in range(13))}): ..."),
        (open_ended_models, "models/m.py", "class M:\n def __init__(self, **kwargs): ..."),
        (too_long, "x.py", "def f():\n" + " x = 1\n" * 81),
        (unread_arguments, "x.py", "def f(a, b): return a"),
        (prints, "x.py", "print(1)"),
        (wrong_way_imports, "layers/x.py", "from vitrail.models.vit import ViT"),
        (wrong_way_imports, "data/x.py", "import vitrail.models"),
        (wrong_way_imports, "lens/x.py", "def f():\n from vitrail.train import loop"),
        (undocumented, "x.py", "'''x'''\ndef f(): ..."),
    ],
)
def test_each_rule_can_fail(rule: object, file: str, code: str) -> None:
    assert list(rule(file, ast.parse(code)))  # type: ignore[operator]


def test_the_rules_on_text_can_fail() -> None:
    assert list(commented_out("x.py", "    # return model(x)"))
    assert not list(commented_out("x.py", "    # returns what the model gives"))
    body = "\n a = 1\n b = 2\n c = a + b\n return c"
    assert list(
        copies({"x.py": ast.parse(f"def f():{body}"), "y.py": ast.parse(f"def g():{body}")})
    )
    assert WORKPLACE.search("see /" + "work/main")
