"""The checker's answers: what it sees, what it says, and what it does not let pass."""

import itertools
import json
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Command, vitrail  # noqa: F401, a fixture
from vitrail.learn import Lesson, check_file, check_source, find_lesson
from vitrail.learn.checker.causes import find_causes
from vitrail.learn.checker.devices import WrongDeviceError, check_devices
from vitrail.learn.checker.report import make_report
from vitrail.learn.checker.stages import Checker
from vitrail.learn.checker.verdict import Report


@pytest.fixture(scope="module")
def checker() -> Checker:
    """That of the lesson on attention."""
    return Checker(find_lesson("attention"), seed=3)


@pytest.fixture(scope="module")
def attention(checker: Checker) -> Lesson:
    """The lesson on attention."""
    return checker.lesson


def report_of(checker: Checker, *edits: tuple[str, str]) -> Report:
    """The report on the solution with changes."""
    text = checker.lesson.solution
    for old, new in edits:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return make_report(
        checker, text, "mine.py", seconds=10.0
    )  # no matter how fast the processor is


def test_the_walk_ends_at_the_first_wrong_variable(checker: Checker) -> None:
    report = report_of(checker, (" * self.scale", ""))
    last = report.walk[-1]
    assert (report.stage, report.mistakes) == ("output", ("no_scale",))
    assert (last.name, last.agrees, last.shape) == ("attn", False, "(1, 4, 5, 5)")
    assert all(row.agrees for row in report.walk[:-1])
    assert any("first difference" in line for line in report.lines())


def test_a_mistake_in_other_words_has_the_same_diagnosis(checker: Checker) -> None:
    report = report_of(
        checker,
        ("q @ k.transpose(-2, -1) * self.scale", "torch.einsum('bhid,bhjd->bhij', q, k)"),
        ("from torch import Tensor, nn", "import torch\nfrom torch import Tensor, nn"),
    )  # fmt: skip
    assert report.mistakes == ("no_scale",)


def test_two_mistakes_are_both_named(checker: Checker) -> None:
    report = report_of(checker, (" * self.scale", ""), ("attn @ v", "attn @ k"))
    assert set(report.mistakes) == {"no_scale", "keys_as_values"}


def test_a_lesson_of_errors_names_one_at_a_time() -> None:
    lesson = find_lesson("find_errors")
    report = make_report(Checker(lesson), lesson.stub("en"), "mine.py")
    assert report.mistakes == lesson.start[:1]


def test_an_unknown_mistake_is_described_by_its_relation(checker: Checker) -> None:
    code = "x = 1.5 * self.proj(x)\n        return x + x"
    report = report_of(checker, ("return self.proj(x)", code))
    assert report.diagnosis == ("your output is 3 times the expected one.",)


@pytest.mark.parametrize(
    ("lesson", "edits", "words"),
    [
        ("rms_norm", (("torch.ones(dim)", "torch.zeros(dim)"),), "starts from 0"),
        ("layer_norm", (("nn.Parameter(torch.ones(dim))", "torch.ones(dim)"),), "no nn.Parameter"),
        ("layer_norm", (("mean = x", "x -= 1\n        mean = x"),), "line 21: your code changes"),
        ("mlp", (("F.gelu(hidden)", "F.dropout(F.gelu(hidden), 0.5, self.training)"),), "dropout?"),
        ("mlp", (("F.gelu(hidden)", "F.dropout(F.gelu(hidden), 0.5)"),), "line 23: with `F.gelu(h"),
        ("mlp", (("return self.fc2(hidden)", "return self.fc2(hidden.detach())"),), "no gradient"),
        ("mlp", (("= self.fc1(x)", "= self.fc1(x.reshape(1, 5, -1))"),), "line 20: with `x`"),
        ("sincos", (("arange(height,", "arange(1, height + 1,"),), "line 13: rows is"),
        ("block", (("mlp(self.norm2", "mlp(self.norm1"), ("attn(self.norm1", "attn(self.norm2")),
         "with `norm2` and `norm1` in each other's place"),
        ("simple_vit", (("+ positions(", "+ 0.5 * positions("),), "the place of `0.5 * p"),
        ("vit", (("x = self.tokens(x)", "x = self.tokens(x) + self.tokens.pos_embed"),),
         "with `self.tok"),
        ("class_token_positions", (("+ self.pos_embed", "+ self.pos_embed.flip(1)"),),
         "embed.flip(1)`"),
        ("vit", (("x = x[:, 0]", "x = x[:, 0].tanh()"),), "line 47: with `x[:, 0]`"),
    ],
)  # fmt: skip
def test_a_mistake_that_no_lesson_foresees_is_named(
    lesson: str, edits: tuple[tuple[str, str], ...], words: str
) -> None:
    report = report_of(Checker(find_lesson(lesson), seed=3), *edits)
    assert not report.mistakes
    assert words in " ".join([report.message, *report.diagnosis])


def test_a_list_that_holds_itself_is_a_wrong_output() -> None:
    checker = Checker(find_lesson("tokens_and_maps"), seed=3)
    old = "return feature_map.flatten(2).transpose(1, 2)"
    report = report_of(checker, (old, "rows = []\n    rows.append(rows)\n    return rows"))
    assert (report.passed, report.stage) == (False, "shapes")


def test_an_unknown_mistake_on_the_way_is_described_at_its_variable(checker: Checker) -> None:
    report = report_of(checker, ("attn.softmax(dim=-1)", "attn.softmax(dim=-1) ** 3"))
    assert report.mistakes == ()
    text = "line 37: the numbers of attn do not sum to 1 along axis 3."
    assert (report.walk[-1].name, report.diagnosis[0]) == ("attn", text)
    assert "with `attn.softmax(dim=-1)` in the place of" in report.diagnosis[1]


@pytest.mark.parametrize(
    ("edits", "stage", "words"),
    [
        ((("heads: int) ->", "heads: int, bias) ->"),), "import", "takes (dim, heads, bias)"),
        ((("class Attention", "class MyAttention"),), "import", "has no `class Attention`"),
        ((("import Tensor, nn", "import Tensor, nn, nothing"),), "import", "line 1: ImportError"),
        ((("x = attn @ v", "x = attn @ v @ v"),), "shapes", "RuntimeError"),
        ((("nn.Linear(dim, dim)", "nn.Linear(dim, dim, bias=False)"),), "parameters", "proj.bias"),
        ((("attn @ v", "attn @ v.detach()"),), "gradients", "gradient of the inputs"),
        ((("B, N, D = x.shape", "B, N, D = x.shape\n        x = x * 0"),), "output", "differ"),
        ((("(dim=-1)", "(dim=-1) * (2 - self.training)"), ("attn @ v", "attn @ v / 2")),
         "behaviour", "in training mode"),
        ((("return self.proj(x)", "return self.proj(x).double()"),), "behaviour", "float32"),
    ],
)  # fmt: skip
def test_each_stage_says_what_is_wrong(
    checker: Checker, edits: tuple[tuple[str, str], ...], stage: str, words: str
) -> None:
    report = report_of(checker, *edits)
    assert report.stage == stage, report.message
    assert words in report.message


def test_a_changed_input_is_seen(checker: Checker) -> None:
    code = "y = x.clone()\n        x.mul_(2)\n        qkv = self.qkv(y)"
    report = report_of(checker, ("qkv = self.qkv(x)", code))
    assert (report.stage, "changes its input" in report.message) == ("behaviour", True)


@pytest.mark.parametrize(
    ("code", "good"),
    [
        ("x + torch.arange(3.0)", False),
        ("x + torch.arange(3.0, device=x.device)", True),
        ("x + torch.arange(3.0).to(x.device)", True),
        ("x + torch.arange(3.0).to(x)", True),
        ("x + torch.arange(3.0).to(x.dtype)", False),
        ("x + 2 * torch.tensor(3.0)", True),
        ("x[torch.arange(2)]", True),
        ("x @ torch.eye(3).flip(0).T", False),
        ("torch.zeros(3)", False),
        ("torch.zeros_like(x) + x.new_ones(3)", True),
    ],
)
def test_tensors_on_the_wrong_device_are_seen(code: str, good: bool) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return eval(code, {"torch": torch, "x": x})

    try:
        check_devices(function, (torch.ones(3),))
        passes = True
    except WrongDeviceError:
        passes = False
    assert passes == good


CHEATS = {
    "an endless loop": ("while True: pass", "runs for more than"),
    "a fork": ("import os\nos.fork()", "starts or ends a process"),
    "sys.exit": ("import sys\nsys.exit(0)", "ends the program"),
    "os._exit": ("import os\nos._exit(0)", "ended the process before"),
    "a patched torch": ("import torch\ntorch.allclose = max", "replaces torch.allclose"),
    "a patched checker": (
        "import sys\nsys.modules['vitrail.learn.checker.compare'].equal = lambda *a: True",
        "replaces vitrail.learn.checker.compare.equal",
    ),
    "the library's class": ("from vitrail.layers.attention import Attention", "imports vitrail"),
    "the library's class in secret": (
        "import sys\nAttention = sys.modules['vitrail.layers.attention'].Attention",
        "runs vitrail's own",
    ),
    "the library's class in a coat": (
        "import sys\nBase = sys.modules['vitrail.layers.attention'].Attention\n"
        "class Attention(Base):\n    def __init__(self, dim, heads): super().__init__(dim, heads)",
        "runs vitrail's own",
    ),
    "torch's function": (
        "import torch.nn.functional as F\nx = F.scaled_dot_product_attention",
        "uses scaled_dot_product",
    ),
    "a file": ("open('stolen.txt', 'w').write('x')", "writes or deletes a file"),
    "the net": ("import socket\nsocket.create_connection(('localhost', 9))", "uses the network"),
    "the solution": (
        "import pathlib, sys\np = pathlib.Path(sys.modules['vitrail.learn.lesson'].__file__)\n"
        "exec((p.parent / 'lessons/core/attention/solution.py').read_text())",
        "opens the lesson's files",
    ),
}  # fmt: skip
QUICK_CHEATS = ("os._exit", "the solution")


@pytest.mark.parametrize(
    "cheat",
    [pytest.param(name, marks=() if name in QUICK_CHEATS else pytest.mark.slow) for name in CHEATS],
)
def test_cheats_fail_with_a_line(cheat: str, attention: Lesson, tmp_path: Path) -> None:
    code, words = CHEATS[cheat]
    path = tmp_path / "core" / "attention.py"
    path.parent.mkdir()
    path.write_text(f"{attention.answer('en')}\n{code}\n", "utf-8")
    report = check_file(attention, path)
    assert not report.passed
    assert words in report.message
    assert [file.name for file in tmp_path.rglob("*")] == ["core", "attention.py"]


@pytest.mark.slow
def test_stored_numbers_do_not_pass(attention: Lesson, tmp_path: Path) -> None:
    """Weights and inputs are others at every check."""
    path = tmp_path / "core" / "attention.py"
    path.parent.mkdir()
    path.write_text(
        attention.answer("en") + "\nimport torch\nprint(torch.initial_seed())\n", "utf-8"
    )
    first, second = (check_file(attention, path) for _ in range(2))
    assert first.passed
    assert second.passed
    wrong = attention.wrong[0].apply(attention.solution)
    path.write_text(wrong, "utf-8")
    values = {check_file(attention, path).walk[-1].values for _ in range(2)}
    assert len(values) == 2


def test_a_learner_goes_from_stub_to_pass(vitrail: Command, attention: Lesson) -> None:  # noqa: F811
    assert vitrail("learn", "init", "mine", "--lang", "zh")[0] == 0
    file = Path("mine/core/attention.py")
    assert "一次得到 q、k、v" in file.read_text("utf-8")
    code, out, _ = vitrail("learn", "check", str(file), "-C", "mine")
    assert (code, "行：这里还没有写" in out) == (1, True)
    code, out, _ = vitrail("learn", "hint", "attention", "-C", "mine", "--lang", "en")
    assert "hint 1 of 3" in out
    file.write_text(attention.answer("zh") + "\nprint('形状')\n", "utf-8")
    code, out, _ = vitrail("learn", "check", "attention", "-C", "mine", "--json")
    assert (code, json.loads(out)["passed"], json.loads(out)["output"]) == (0, True, "形状\n")
    assert "第 2 次" in Path("mine/journal.md").read_text("utf-8")
    code, out, _ = vitrail("learn", "quiz", "attention", "-C", "mine", "--answers", "a,b,b,b,b")
    assert (code, "5 题答对 4 题" in out) == (1, True)
    code, out, _ = vitrail("learn", "progress", "mine", "--csv")
    assert out.splitlines()[1].startswith("mine,1,")
    _, out, _ = vitrail("learn", "reset", "attention", "-C", "mine")
    assert Path("mine/core/attention.1.old.py").read_text("utf-8").startswith("from torch")
    assert vitrail("learn", "init", "mine")[0] == 0
    assert vitrail("learn", "check", "atention", "-C", "mine")[0] == 2
    assert vitrail("learn", "next", "-C", "nowhere")[0] == 2


def test_a_single_number_has_no_position() -> None:
    lesson = find_lesson("masked_loss")
    doubled = lesson.solution.replace("/ mask.sum()", "/ mask.sum() * 2")
    failure = check_source(lesson, doubled)
    assert failure is not None
    assert failure.message.startswith("the number is another: yours ")


CAUSES = {
    "what norm2 is given lacks the input: the residual is missing.": """
        a = self.attn(self.norm1(x))
        return x + a + self.mlp(self.norm2(a))""",
    "your output does not depend on norm2.weight, norm2.bias, which should take part.": """
        y = x + self.attn(self.norm1(x))
        return y + 1.37 * self.mlp(y)""",
    "mlp is called 2 times, not 1.": """
        y = x + self.attn(self.norm1(x))
        return y + self.mlp(1.1 * self.mlp(self.norm2(y)))""",
}


def test_causes_are_found_by_experiment() -> None:
    """Where no wrong version matches, and no variable has the solution's name."""
    checker = Checker(find_lesson("block"))
    head = checker.lesson.solution.partition('"""(B, N, D)')[0].rstrip()
    for sentence, code in CAUSES.items():
        report = make_report(checker, head + code, "mine.py", seconds=10.0)
        assert (report.stage, report.mistakes, report.diagnosis) == ("output", (), (sentence,))


def test_other_arguments_explain_an_output() -> None:
    lesson = find_lesson("selective_scan")
    head, body = lesson.solution.split('y (B, L, D)"""\n')
    code = f'{head}y (B, L, D)"""\n    u = u.roll(1, 1)\n{body}'
    checker = Checker(lesson)
    subject, expected = checker.load(code, "mine.py"), checker.expected[0]
    output = subject.object(*expected.inputs)
    sentence = "your output would be right if u were moved by one along axis 1."
    arguments = subject, checker.solution, expected, output
    assert find_causes(*arguments) == (sentence,)
    for early in range(3):  # asked before two experiments, and before the first other argument
        answers = itertools.chain([False] * early, itertools.repeat(True))
        assert find_causes(*arguments, is_late=answers.__next__, vague=False) == ()
