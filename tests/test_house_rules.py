"""The house rules of `tools/house_rules.py` hold. An exception is listed here with its reason."""

import ast
import functools
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools import documentation, house_rules
from tools.house_rules import private_chain
from tools.source import Source, Violation, sources

ROOT = Path(__file__).parents[1]

# Patterns of `RULE FILE WHAT`, with the reason. One that is no longer needed fails the test.
EXCEPTIONS = {
    r"same-name .* (run|command): cli/.*": "every file of cli/ has its command under this name",
    r"same-name .* (convert|recognizes): (hub/convert.py )?hub/converters/.*": "of every converter",
    r"import preprocess.py data": "data.images needs Pillow, and is imported when a picture comes",
    r"arguments methods/dino.py DINO.__init__": "a keyword per setting of the authors' code",
    r"arguments train/trainer.py Trainer.__init__": "a keyword per choice of a training loop",
    r"arguments train/evaluation.py evaluate": "a keyword per option of `vitrail eval`",
    r"long train/evaluation.py evaluate": "most of it documents a keyword per option",
    r"long train/runs.py fit": "most of it documents what a model and data may be",
    r"long cli/(look|predict|train).py run": "most of it are the options, with their help",
    r"parsed models/spelling.py suggest_model: .*": "of a name that no model has",
    r"args train/keywords.py Settings \w+": "docs/en/config.md says what each setting means",
}

WORKPLACE = re.compile(
    r"(?<![\w/.])/(work|root|home)/\w|pypi\.org|files\.pythonhosted|deb\.debian\.org"
)


@functools.cache
def broken() -> list[Violation]:
    return house_rules.violations()


RULES = (
    "args", "arguments", "commented-out", "copy", "docstring", "example", "import", "isinstance",
    "long", "open-ended", "parameter-name", "parsed", "participle", "print", "private", "raises",
    "returns", "room", "same-name", "two-meanings", "unread", "word",
)  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_holds(rule: str) -> None:
    offences = [v for v in broken() if v.rule == rule and not excepted(v)]
    assert not offences, "\n" + "\n".join(map(str, offences))


def test_every_rule_is_listed() -> None:
    assert {v.rule for v in broken()} <= set(RULES)


def test_every_exception_is_needed() -> None:
    unused = [e for e in EXCEPTIONS if not any(re.fullmatch(e, v.key) for v in broken())]
    assert not unused


def excepted(violation: Violation) -> bool:
    return any(re.fullmatch(pattern, violation.key) for pattern in EXCEPTIONS)


def test_nothing_speaks_of_the_workplace() -> None:
    sentences = []
    for pattern in ("*.md", "*.py", "*.toml", "*.txt", "*.yaml", "Makefile", "*.json"):
        for path in ROOT.rglob(pattern):
            inside = path.relative_to(ROOT)
            if path != Path(__file__) and not {".venv", "runs", "site", ".git"} & set(inside.parts):
                if match := WORKPLACE.search(path.read_text("utf-8", errors="ignore")):
                    sentences.append(f"{inside}: {match[0]}")
    assert not sentences
    assert WORKPLACE.search("see /" + "work/main")


def private_uses() -> Iterator[tuple[str, str]]:
    """(File, dotted name) of every private name of torch and its relatives in the package."""
    for source in sources():
        roots = house_rules.imported_names(source.tree)
        for node in ast.walk(source.tree):
            chain = private_chain(node, set(roots))
            if chain:
                first, _, rest = chain.partition(".")
                yield source.file, f"{roots.get(first, first)}.{rest}"


def test_private_names_are_still_there() -> None:
    """The reason stands at the place of use; this says at once when the name goes."""
    uses = sorted(set(private_uses()))
    assert uses
    gone = [f"{name}, which {file} uses" for file, name in uses if not is_there(name)]
    assert not gone


def is_there(name: str) -> bool:
    """Whether the modules and attributes of a dotted name exist."""
    parts = name.split(".")
    if parts[0] in ("self", "module", "model") or parts[-1] in house_rules.MODULE_PRIVATES:
        owner: Any = __import__("torch").nn.Linear(1, 1)
        accelerate = importlib.import_module("accelerate.state").AcceleratorState
        return hasattr(owner, parts[-1]) or hasattr(accelerate, parts[-1])
    for length in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


PER_FILE = [
    (house_rules.too_many_arguments, "x.py", "def f(a, b, c, d, e, f, g, h, i, j, k, l, m): ..."),
    (house_rules.open_ended_models, "models/m.py", "class M:\n def __init__(self, **kwargs): ..."),
    (house_rules.too_long, "x.py", "def f():\n" + " x = 1\n" * 81),
    (house_rules.too_long, "x.py", "x = 1\n" * 401),
    (house_rules.unread_arguments, "x.py", "def f(a, b): return a"),
    (house_rules.prints, "x.py", "print(1)"),
    (house_rules.commented_out, "x.py", "def f():\n    # return model(x)\n    pass"),
    (house_rules.wrong_way_imports, "layers/x.py", "from vitrail.models.vit import ViT"),
    (house_rules.wrong_way_imports, "data/x.py", "import vitrail.models"),
    (house_rules.wrong_way_imports, "data/x.py", "from vitrail import models"),
    (house_rules.wrong_way_imports, "lens/x.py", "def f():\n from vitrail.train import trainer"),
    (house_rules.wrong_way_imports, "learn/x.py", "from vitrail.explorer import export_page"),
    (house_rules.wrong_way_imports, "ops/x.py", "import_module('vitrail.models.vit')"),
    (house_rules.wrong_way_imports, "attic/x.py", ""),
    (house_rules.wrong_way_imports, "errors.py", "from vitrail.models import vit"),
    (house_rules.wrong_way_imports, "helpers.py", ""),
    (house_rules.names_that_say_nothing, "x.py", "told = 1"),
    (house_rules.names_that_say_nothing, "x.py", "def f(wanted): ..."),
    (house_rules.names_that_say_nothing, "x.py", "def is_known(): ..."),
    (house_rules.names_that_say_nothing, "x.py", "self.asked = 1"),
    (house_rules.names_that_say_nothing, "x.py", "[seen for seen in x]"),
    (house_rules.names_that_say_nothing, "x.py", "with f() as held: ..."),
    (house_rules.names_that_say_nothing, "x.py", "def f(taps=4): ..."),
    (house_rules.names_that_say_nothing, "x.py", "class ClassBlock: ..."),
    (house_rules.names_that_say_nothing, "ops/pool.py", ""),
    (
        house_rules.names_from_parameters, "models/x.py",
        "def f(m):\n for n, p in m.named_parameters():\n  if n.endswith('bias'): p.zero_()",
    ),
    (
        house_rules.names_from_parameters, "methods/x.py",
        "def f(m):\n return [k for k in m.state_dict() if 'head' in k]",
    ),
    (house_rules.parsed_keywords, "models/x.py", "def f(mixer='v2'):\n return mixer.split('+')"),
    (house_rules.parsed_keywords, "models/x.py", "def f(pool: str):\n return 'cls' in pool"),
    (house_rules.parsed_keywords, "train/x.py", "def f(a, *, mode='a'):\n mode.partition('+')"),
    (house_rules.private_names, "x.py", "import torch\ntorch._weight_norm(v, g)"),
    (house_rules.private_names, "x.py", "from torch._dynamo import reset"),
    (house_rules.private_names, "x.py", "import torch.nn.functional as F\nF._x"),
    (house_rules.private_names, "x.py", "import torch\ngetattr(torch, '_foreach_lerp_')"),
    (house_rules.private_names, "x.py", "def f(m): return m.fc1._forward_hooks"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "file", "code"), PER_FILE)
def test_each_rule_can_fail(
    rule: Callable[[Source], Iterator[Violation]], file: str, code: str
) -> None:
    assert list(rule(Source(file, code)))


@pytest.mark.parametrize(
    ("rule", "file", "code"),
    [
        (house_rules.commented_out, "x.py", "    # returns what the model gives"),
        (house_rules.wrong_way_imports, "cli/x.py", "from vitrail.train import trainer"),
        (house_rules.wrong_way_imports, "data/x.py", "from vitrail.preprocess import Preprocess"),
        (house_rules.names_that_say_nothing, "x.py", "unknown_keyword = 0"),
        (house_rules.parsed_keywords, "hub/x.py", "def f(source: str):\n source.split(':')"),
        (house_rules.private_names, "x.py", "import torch\n# private: only speed\ntorch._foo(1)"),
        (house_rules.private_names, "x.py", "import torch\ntorch.foo(self._x)"),
    ],
)
def test_what_is_allowed(
    rule: Callable[[Source], Iterator[Violation]], file: str, code: str
) -> None:
    assert not list(rule(Source(file, code)))


METHOD = "class Method: ...\nclass DINO(Method): ...\n"


@pytest.mark.parametrize(
    ("rule", "files"),
    [
        (house_rules.type_questions, {"m/d.py": METHOD, "x.py": "isinstance(m, (int, DINO))"}),
        (house_rules.type_questions, {"m/d.py": METHOD, "x.py": "issubclass(m, d.DINO)"}),
        (house_rules.type_questions, {"m/d.py": METHOD, "x.py": "type(m) is DINO"}),
        (
            house_rules.type_questions,
            {"data/d.py": "class StreamedDataset: ...", "x.py": "isinstance(m, StreamedDataset)"},
        ),
        (
            house_rules.shared_names,
            {"x.py": "class Stage: ...", "y.py": "class Stage: ..."},
        ),
        (
            house_rules.copies,
            {n: f"def {n[0]}():\n a = 1\n b = 2\n c = a + b\n return c" for n in ("x.py", "y.py")},
        ),
    ],
)  # fmt: skip
def test_each_rule_about_many_files_can_fail(
    rule: Callable[[list[Source]], Iterator[Violation]], files: dict[str, str]
) -> None:
    assert list(rule([Source(file, code) for file, code in files.items()]))


def test_a_class_may_ask_about_itself_in_its_own_file() -> None:
    source = Source("methods/d.py", METHOD + "isinstance(m, DINO)")
    assert not list(house_rules.type_questions([source]))


COMPLETE = '''"""A file."""
def double(x: int, *, twice: bool = False) -> int:
    """Doubles a number.

    Args:
        x: the number.
        twice: whether to double it again (default: no).

    Returns:
        The product.

    Raises:
        ConfigError: `x` is 0.

    Example:
        >>> double(2)
        4
    """
    if x == 0:
        raise ConfigError("x is 0.")
    return x * (4 if twice else 2)
'''


def test_a_complete_docstring_is_complete() -> None:
    assert not list(documentation.incomplete([Source("x.py", COMPLETE)]))


@pytest.mark.parametrize(
    ("removed", "rule"),
    [
        ("        x: the number.\n", "args"),
        ("        twice: whether to double it again (default: no).\n", "args"),
        ("    Returns:\n", "returns"),
        ("    Raises:\n", "raises"),
        (">>> ", "example"),
        ('"""A file."""', "docstring"),
    ],
)
def test_an_incomplete_docstring_is_reported(removed: str, rule: str) -> None:
    source = Source("x.py", COMPLETE.replace(removed, ""))
    assert [v.rule for v in documentation.incomplete([source])] == [rule]


CLASS = 'class A:\n  """A.\n\n  Example:\n    >>> 1\n  """\n'


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        (CLASS + "  def __init__(self, dim): ...", "args"),
        ("@dataclass\n" + CLASS + "  dim: int", "args"),
        (CLASS.replace("A:", "A(NamedTuple):", 1) + "  dim: int", "args"),
        (CLASS + '  def f(self, x):\n    """F."""', "args"),
        (CLASS + "  def f(self): ...", "docstring"),
        ('class A:\n  """A."""', "example"),
        ("class A: ...", "docstring"),
    ],
)
def test_an_incomplete_class_is_reported(code: str, rule: str) -> None:
    source = Source("x.py", f'"""A file."""\n{code}')
    assert [v.rule for v in documentation.incomplete([source])] == [rule]


def test_one_line_with_shapes_is_enough_for_a_method() -> None:
    line = '  def take(self, x, index):\n    """x (B, N), index (B, K) → (B, K)."""'
    assert not list(documentation.incomplete([Source("x.py", f'"""A file."""\n{CLASS}{line}')]))
