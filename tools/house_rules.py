"""The house rules of size, of rooms and of names. `python -m tools.house_rules [PATH]` lists what
breaks them, and so does `tests/test_house_rules.py`, where the exceptions are.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator

from tools import documentation
from tools.source import (
    Function,
    Source,
    Violation,
    all_parameters,
    ancestors,
    body,
    is_declared_only,
    is_kernel,
    parameters,
    sources,
)

ARGUMENTS, MODEL_ARGUMENTS, FUNCTION_LINES, FILE_LINES = 12, 24, 80, 400

# What each room may import besides itself and the files that are open to all.
_MODELS = {"ops", "layers", "models"}
_HUB = _MODELS | {"methods", "data", "hub"}
_TRAIN = _HUB | {"lens", "deploy", "train"}
LAYERS = {
    "ops": set(),
    "layers": {"ops"},
    "models": {"ops", "layers"},
    "methods": _MODELS,
    "data": set(),
    "hub": _MODELS | {"methods", "data"},
    "lens": _HUB,
    "deploy": _HUB,
    "train": _HUB | {"lens", "deploy"},
    "explorer": _TRAIN,
    "serve": _TRAIN,
    "policy": _TRAIN,
    "learn": _TRAIN,
    "contract": _TRAIN,
    "cli": _TRAIN | {"explorer", "serve", "policy", "learn", "contract"},
}
OPEN_TO_ALL = {
    "arguments", "contexts", "errors", "exports", "files", "foreign", "intervals", "manifest",
    "memory", "messages", "other_names", "plugins", "preprocess", "prompts", "registry", "resizing",
    "run_files", "run_folder", "sampling", "tensor_bytes", "values",
}  # fmt: skip
FRONT_DOOR = {"__init__", "__main__"}

# They say that something was computed, never what it is (STYLE.md).
PARTICIPLES = {
    "told", "found", "wanted", "seen", "given", "known", "made", "held", "drawn", "asked", "kept",
    "shown", "taken", "chosen",
}  # fmt: skip
# The field has another word (STYLE.md).
OTHER_WORDS = {
    "tap", "taps", "slope", "slopes", "deviation", "place", "places", "neighbours", "judge",
    "learner",
}  # fmt: skip
# Names that meant two things.
TWO_MEANINGS = {"OffsetBias", "ClassBlock", "AttentionPool", "Stage", "Entry", "fill"}
TWO_MEANING_MODULES = {"progress", "pool", "tap", "families", "names"}

CODE = re.compile(
    r"^#\s*(import \w|from \w+ import|return\b|def \w+\(|class \w+|\w+(\.\w+)* = \w|\w+\(.*\)$)"
)
# Attributes of modules and tensors that torch and accelerate keep for themselves.
MODULE_PRIVATES = {
    "_parameters", "_modules", "_buffers", "_forward_hooks", "_forward_pre_hooks",
    "_backward_hooks", "_load_from_state_dict", "_register_state_dict_hook",
    "_register_load_state_dict_pre_hook", "_named_members", "_apply", "_version", "_base",
    "_save_to_state_dict", "_reset_state",
}  # fmt: skip


def is_model_constructor(source: Source, name: str) -> bool:
    return source.room == "models" and name.endswith(".__init__") and "base.py" not in source.file


def too_many_arguments(source: Source) -> Iterator[Violation]:
    for name, function in source.functions:
        limit = MODEL_ARGUMENTS if is_model_constructor(source, name) else ARGUMENTS
        # A command's arguments are its options: each is one line of its help.
        if source.room != "cli" and not is_kernel(function) and len(parameters(function)) > limit:
            yield source.breaks("arguments", name, function)


def open_ended_models(source: Source) -> Iterator[Violation]:
    for name, function in source.functions:
        if is_model_constructor(source, name) and (function.args.kwarg or function.args.vararg):
            yield source.breaks("open-ended", name, function)


def too_long(source: Source) -> Iterator[Violation]:
    for name, function in source.functions:
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES:
            yield source.breaks("long", name, function)
    if len(source.lines) > FILE_LINES:
        yield source.breaks("long", "file")


def unread_arguments(source: Source) -> Iterator[Violation]:
    for name, function in source.functions:
        if is_declared_only(function) or function.name == "_":
            continue
        read = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
        for argument in all_parameters(function):
            if argument.arg not in read and not argument.arg.startswith("_"):
                yield source.breaks("unread", f"{name} {argument.arg}", function)


def prints(source: Source) -> Iterator[Violation]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
            yield source.breaks("print", "print()", node)


def commented_out(source: Source) -> Iterator[Violation]:
    for number, line in enumerate(source.lines, 1):
        if CODE.match(line.strip()) and "noqa" not in line:
            yield Violation("commented-out", source.file, line.strip(), number)


def wrong_way_imports(source: Source) -> Iterator[Violation]:
    """Imports of a room above, and rooms that nobody has given a row of `LAYERS`."""
    if source.room in FRONT_DOOR:
        return
    if source.room not in LAYERS.keys() | OPEN_TO_ALL:
        yield source.breaks("room", f"{source.room} has no row in LAYERS")
        return
    visible = {source.room} | LAYERS.get(source.room, set()) | OPEN_TO_ALL
    for node in ast.walk(source.tree):
        for other in _imported_rooms(node):
            if other not in visible and not other.startswith("__"):
                yield source.breaks("import", other, node)


def _imported_rooms(node: ast.AST) -> Iterator[str]:
    """The rooms that a statement imports from; what is no room is named as it stands."""
    modules: list[str] = []
    if isinstance(node, ast.ImportFrom):
        if node.level:
            yield "." * node.level + (node.module or "")
        elif node.module == "vitrail":
            modules = [f"vitrail.{alias.name}" for alias in node.names]
        else:
            modules = [node.module or ""]
    elif isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        modules = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
    for module in modules:
        parts = str(module).split(".")
        if parts[0] == "vitrail" and len(parts) > 1:
            yield parts[1]


def identifiers(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every name that the code gives: to classes, functions, arguments, variables, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | Function):
            yield node.name, node
        elif isinstance(node, ast.arg):
            yield node.arg, node
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name, node
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node


def words(identifier: str) -> list[str]:
    """The words of an identifier: `is_known` and `isKnown` → is, known."""
    return [w.lower() for w in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", identifier)]


def names_that_say_nothing(source: Source) -> Iterator[Violation]:
    for name, node in identifiers(source.tree):
        parts = words(name)
        if PARTICIPLES & set(parts):
            yield source.breaks("participle", name, node)
        if OTHER_WORDS & set(parts):
            yield source.breaks("word", name, node)
        if name in TWO_MEANINGS:
            yield source.breaks("two-meanings", name, node)
    stem = source.file.rpartition("/")[2].removesuffix(".py")
    if PARTICIPLES & set(words(stem)) or stem in TWO_MEANING_MODULES:
        yield source.breaks("two-meanings", f"module {stem}")


def names_from_parameters(source: Source) -> Iterator[Violation]:
    """Rules by how a parameter's name is spelt. Converters in hub/ read other people's names."""
    if source.room == "hub":
        return
    for name, function in source.functions:
        spelt = _parameter_names(function)
        for node in ast.walk(function):
            if spelt and _matches_text(node, spelt):
                yield source.breaks("parameter-name", f"{name}: {ast.unparse(node)[:60]}", node)


def _parameter_names(function: Function) -> set[str]:
    """Variables that take the names of parameters or of tensors of a state dict, by iteration."""
    calls = ("named_parameters", "named_buffers", "state_dict")
    names: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.For | ast.comprehension):
            inside = [n for n in ast.walk(node.iter) if isinstance(n, ast.Call)]
            if any(getattr(n.func, "attr", "") in calls for n in inside):
                names |= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
    return names


PARSING = {"endswith", "startswith", "split", "rsplit", "partition", "rpartition", "removesuffix"}


def _matches_text(node: ast.AST, variables: set[str]) -> bool:
    """Whether one of the variables is searched or cut as text here."""

    def mentions(part: ast.AST) -> bool:
        return any(isinstance(n, ast.Name) and n.id in variables for n in ast.walk(part))

    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in PARSING and mentions(node.func.value):
            return True
        return ast.unparse(node.func).startswith("re.") and any(map(mentions, node.args))
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        text = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
        right = node.comparators[0]
        return text and isinstance(right, ast.Name) and right.id in variables
    return False


def parsed_keywords(source: Source) -> Iterator[Violation]:
    """Keywords whose string value is cut into parts.

    In models, layers and methods every argument counts; elsewhere, where paths and settings are
    read, those with a string as default.
    """
    strict = source.room in ("models", "layers", "methods")
    for name, function in source.functions:
        texts = _text_keywords(function, every=strict)
        for node in ast.walk(function):
            cut = isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {
                "split", "rsplit", "partition", "rpartition",
            }  # fmt: skip
            if (cut or isinstance(node, ast.Compare)) and texts and _matches_text(node, texts):
                yield source.breaks("parsed", f"{name}: {ast.unparse(node)[:60]}", node)


def _text_keywords(function: Function, *, every: bool) -> set[str]:
    """The arguments that are text: by default value, or, of `every`, by annotation."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    last = positional[len(positional) - len(arguments.defaults) :]
    pairs = [
        *zip(last, arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    names = {a.arg for a, d in pairs if isinstance(d, ast.Constant) and isinstance(d.value, str)}
    if every and not function.name.startswith("layer_of"):
        annotated = [a for a in parameters(function) if a.annotation]
        names |= {a.arg for a in annotated if ast.unparse(a.annotation) in ("str", "str | None")}
    return names


def private_names(source: Source) -> Iterator[Violation]:
    """Private names of torch, accelerate and others without a comment that begins `private:`."""
    roots = set(imported_names(source.tree))
    for node in ast.walk(source.tree):
        chain = private_chain(node, roots)
        if chain and not _has_reason(source, node.lineno):  # type: ignore[attr-defined]
            yield source.breaks("private", chain, node)


def private_chain(node: ast.AST, roots: set[str]) -> str:
    """The dotted name, if it has a private part that is not the package's own; else ""."""
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.Attribute):
        names = [ast.unparse(node)]
        root = names[0].split(".")[0]
        if node.attr in MODULE_PRIVATES and not isinstance(node.value, ast.Call):
            return names[0]
        if root not in roots or not _is_private(node.attr):
            return ""
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr":
        text = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
        root = ast.unparse(node.args[0]).split(".")[0]
        names = [f"{ast.unparse(node.args[0])}.{text}"] if root in roots else []
    else:
        return ""
    foreign = [n for n in names if not n.startswith("vitrail")]
    return next((n for n in foreign if any(map(_is_private, n.split(".")))), "")


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Names that stand for modules and objects of other packages → what they stand for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("vitrail"):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return {name: target for name, target in names.items() if name != "vitrail"}


def _has_reason(source: Source, line: int) -> bool:
    """Whether the line, or the comment above it, says why: "private: ..."."""
    if "private:" in source.lines[line - 1]:
        return True
    above = line - 2
    while above >= 0 and source.lines[above].strip().startswith("#"):
        if "private:" in source.lines[above]:
            return True
        above -= 1
    return False


def type_questions(files: list[Source]) -> Iterator[Violation]:
    """`isinstance` and its like on methods and data sets, outside the file of the class."""
    lineage, home = ancestors(files), {}
    for source in files:
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef):
                method = "Method" in lineage[node.name]
                dataset = source.room == "data" and "Dataset" in node.name
                if method or dataset or "ImageDataset" in lineage[node.name]:
                    home[node.name] = source.file
    for source in files:
        for node in ast.walk(source.tree):
            for name in _types_in_question(node):
                if name in home and home[name] != source.file:
                    yield source.breaks("isinstance", name, node)


def _types_in_question(node: ast.AST) -> Iterator[str]:
    """Names of the classes that an expression compares a type with."""
    parts: list[ast.AST] = []
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
        parts = list(node.args[1:])
    elif isinstance(node, ast.Compare) and ast.unparse(node.left).startswith("type("):
        parts = list(node.comparators)
    elif isinstance(node, ast.MatchClass):
        parts = [node.cls]
    for part in parts:
        for name in ast.walk(part):
            if isinstance(name, ast.Name | ast.Attribute):
                yield name.id if isinstance(name, ast.Name) else name.attr


def shared_names(files: list[Source]) -> Iterator[Violation]:
    """Public classes and functions that have their name in common with another file's."""
    by_key = defaultdict(list)
    for source in files:
        for node in source.public:
            by_key[node.name].append((source, node))
    for name, same in by_key.items():
        if len(same) > 1:
            others = " ".join(source.file for source, _ in same)
            yield same[-1][0].breaks("same-name", f"{name}: {others}", same[-1][1])


def copies(files: list[Source]) -> Iterator[Violation]:
    """Definitions of more than three lines with the same body under any name."""
    by_key = defaultdict(list)
    for source in files:
        for name, function in source.functions:
            statements = body(function)
            if statements and (statements[-1].end_lineno or 0) - statements[0].lineno >= 3:
                by_key["".join(map(ast.dump, statements))].append((source, name, function))
    for same in by_key.values():
        if len(same) > 1:
            text = " = ".join(sorted(f"{source.file} {name}" for source, name, _ in same))
            yield same[0][0].breaks("copy", text, same[0][2])


PER_FILE = (
    too_many_arguments, open_ended_models, too_long, unread_arguments, prints, commented_out,
    wrong_way_imports, names_that_say_nothing, names_from_parameters, parsed_keywords,
    private_names,
)  # fmt: skip
PER_PACKAGE = (type_questions, shared_names, copies, documentation.incomplete)


def violations(files: list[Source] | None = None) -> list[Violation]:
    """What breaks a rule, in the order of the files."""
    files = sources() if files is None else files
    broken = {v for rule in PER_FILE for source in files for v in rule(source)}
    broken |= {v for rule in PER_PACKAGE for v in rule(files)}
    return sorted(broken, key=lambda v: (v.file, v.line, v.rule, v.what))


if __name__ == "__main__":
    prefix = sys.argv[1].removeprefix("src/vitrail/") if len(sys.argv) > 1 else ""
    for violation in violations():
        if violation.file.startswith(prefix):
            print(f"src/vitrail/{violation}")
