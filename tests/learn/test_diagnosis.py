"""What the checker finds of mistakes that no lesson foresees: changes, experiments, relations."""

import pytest
import torch

from vitrail.learn import find_lesson
from vitrail.learn.checker.causes import find_causes
from vitrail.learn.checker.changes import changes
from vitrail.learn.checker.diagnosis import Diagnoser
from vitrail.learn.checker.interventions import find_wrong_variable
from vitrail.learn.checker.relations import relation, relation_of_parts
from vitrail.learn.checker.report import make_report
from vitrail.learn.checker.stages import Checker
from vitrail.learn.checker.worker import MOST_SECONDS

CHANGES = [
    ("return x.reshape(2, 3, 4, 5)", "return x.reshape(3, 2, 5, 4)"),
    ("return x.permute(0, 1, 2)", "return x.permute(2, 1, 0)"),
    ("return torch.einsum('ij,jk->ik', x, y)", "return torch.einsum('ij,kj->ik', x, y)"),
    ("return torch.einsum('ij,jk->ik', x, y)", "return torch.einsum('ij,jk->ki', x, y)"),
    ("return x[None, :]", "return x[:, None]"),
    ("return x[None]", "return x[:, None]"),
    ("return x.mean(dim=-1)", "return x.mean(dim=(-2, -1))"),
    ("return x.mean(dim=(1, 2))", "return x.mean(dim=(1,))"),
    ("return F.mse_loss(x, y)", "return F.mse_loss(x, y, reduction='sum')"),
    ("return torch.rand(x.shape[0], 3)", "return torch.rand(1, 3)"),
    ("return torch.zeros((n, 3))", "return torch.zeros((1, 3,))"),
    ("x += y", "x = y"),
    ("x = y", "x += y"),
    ("x = 1; y = 2; z = 3", "y = 2; z = 3; x = 1"),
    ("x = 1; y = 2; z = 3", "z = 3; x = 1; y = 2"),
    ("x = 1; y = 2; z = 3", "pass; y = 2; z = 3"),
    ("return [a for a in x]", "return [a for a in list(x)[1:]]"),
    ("return [a for a in x if a]", "return [a for a in x if True]"),
    ("return x[0] + y", "return y + y"),
    ("return x[0] + y", "return x[0] + x[0]"),
]


@pytest.mark.parametrize(("line", "other"), CHANGES)
def test_a_change_is_tried(line: str, other: str) -> None:
    head = "def f(x, y, n):\n    "
    assert f"{head}{other}\n" in {change.text for change in changes(f"{head}{line}\n")}


def test_loops_that_never_end_stay_as_they_are() -> None:
    text = "def f(x):\n    for i in itertools.count():\n        break\n"
    assert not any("list(" in change.text for change in changes(text))


def test_relations_name_the_entry_and_the_source() -> None:
    x, y = torch.randn(2, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    assert (
        relation([x, 2 * x], [x, x], ()) == "entry [1] of your output is 2 times the expected one."
    )
    assert relation([2 * x, 2 * x], [x, x], ()) == ""  # two mistakes, or one before both
    parts = [("gain", y)]
    assert relation_of_parts(x * y, x, parts) == "your output is multiplied by gain once too often."
    assert "not multiplied by gain" in relation_of_parts(x, x * y, parts)
    wrong = torch.stack([x[0], x[1] + y])
    sentence = "in the entries 1 of axis 0, your output holds gain once too often."
    assert relation_of_parts(wrong, x, parts) == sentence


SOFTMAX_OVER_QUERIES = """
import torch
def attention(q, k, v):
    scores = torch.einsum("...nd,...md->...nm", q, k) / q.shape[-1] ** 0.5
    e = torch.exp(scores - scores.max())
    w = torch.zeros_like(e)
    w += e / e.sum(dim=-2, keepdim=True)
    p = w * 1
    return p @ v
"""


def test_the_wrong_variable_is_found_and_what_is_filled_later_is_none() -> None:
    checker = Checker(find_lesson("scaled_dot_product"), 5)
    subject = checker.load(SOFTMAX_OVER_QUERIES, "mine.py")
    arguments = subject, checker.solution, checker.expected[0]
    variable = find_wrong_variable(*arguments, lambda: False)
    assert variable is not None
    assert variable.sentence.startswith("line 8: the numbers of p sum to 1 along axis 1")
    assert find_wrong_variable(*arguments, lambda: True) is None
    text = SOFTMAX_OVER_QUERIES.partition("    w =")[0] + "    w = torch.zeros_like(e)\n"
    text += "    w[..., :2] = (e / e.sum(-1, keepdim=True))[..., :2]\n    return w @ v\n"
    subject = checker.load(text, "mine.py")
    assert find_wrong_variable(subject, *arguments[1:], lambda: False) is None


def test_a_change_must_fit_all_calls() -> None:
    """In the first call axis 1 is the last but one, in others it is not."""
    checker = Checker(find_lesson("scaled_dot_product"), 5)
    failure = checker.failure_of(SOFTMAX_OVER_QUERIES)
    assert failure is not None
    news = [
        change.new
        for text in ("", SOFTMAX_OVER_QUERIES)
        if (change := Diagnoser(checker, text=text).change(failure))
    ]
    assert ["dim=1" in new for new in news] == [True, False]


def test_claims_are_measured_with_other_seeds() -> None:
    """Samples are dropped with probability 1 - rate: the values are those of another mistake."""
    lesson = find_lesson("drop_path")
    edits = (("1 - self.rate", "self.rate"),)
    text = lesson.solution
    for old, new in edits:
        text = text.replace(old, new)
    checker = Checker(lesson, 5)
    failure = checker.failure_of(text)
    assert failure is not None
    names = [[w.name for w in Diagnoser(checker, text=t).single(failure)] for t in ("", text)]
    assert (names[0] != [], names[1]) == (True, [])


def test_hooks_that_a_failed_change_leaves_behind_change_nothing() -> None:
    lesson = find_lesson("profile")
    assert "total + seconds" in lesson.solution
    text = lesson.solution.replace("total + seconds", "0 * total + seconds")
    report = make_report(Checker(lesson, 5), text, "mine.py", seconds=10.0)
    assert "with `total + seconds`" in report.diagnosis[0]


def test_a_layer_that_is_called_too_late_is_named() -> None:
    checker = Checker(find_lesson("block"), 5)
    head = checker.lesson.solution.partition('"""(B, N, D)')[0].rstrip()
    code = f"{head}\n        y = x + self.attn(self.norm1(x))\n"
    code += "        return self.norm2(y + self.mlp(y))\n"
    subject, expected = checker.load(code, "mine.py"), checker.expected[0]
    call = subject.build(expected.case)
    call.load(expected.state)
    arguments = subject, checker.solution, expected, call.function(*expected.inputs)
    assert find_causes(*arguments) == ("norm2 is called after mlp, and should come before it.",)
    assert find_causes(*arguments, vague=False) == ()


def test_functions_of_anything_but_tensors_are_no_layers() -> None:
    lesson = find_lesson("broken_schedule")
    checker = Checker(lesson, 5)
    text = lesson.solution.replace("optimizer.step()", "schedule.step()", 1)
    subject, expected = checker.load(text, "mine.py"), checker.expected[0]
    output = subject.object(*expected.inputs, **expected.case.options)
    assert "make_" not in " ".join(find_causes(subject, checker.solution, expected, output))


def test_what_a_file_prints_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    lesson = find_lesson("mlp")
    text = lesson.solution.replace(
        "hidden = F.gelu", "print('again')\n        hidden = 1.3 * F.gelu"
    )
    checker = Checker(lesson, 5)
    counts = []
    for work in (checker.failure_of, lambda text: make_report(checker, text, "mine.py")):
        work(text)
        counts.append(capsys.readouterr().out.count("again"))
    assert counts[0] == counts[1] > 0


def test_a_repair_must_give_the_right_output_in_all_calls() -> None:
    """Not only run, and not only for the sizes of one call."""
    lesson = find_lesson("scaled_dot_product")
    checker = Checker(lesson, 5)
    code = "import torch\ndef attention(q, k, v):\n    logits = q @ k.mT / 3\n"
    code += "    logits = logits - logits.amax(-1, keepdim=True)\n"
    raises = "    logits = logits.unsqueeze(7)\n"
    end = "    return torch.nn.functional.normalize(logits.exp(), p=1, dim=-1) @ v\n"
    for text in (code + end, code + raises + end):
        failure = checker.failure_of(text)
        assert failure is not None
        assert Diagnoser(checker, text=text).repair(failure) is None
    text = (code + end).replace("/ 3", "* q.shape[-1] ** 0.5")
    failure = checker.failure_of(text)
    assert failure is not None
    change = Diagnoser(checker, text=text).repair(failure)
    assert change is not None
    assert (change.line, change.new) == (3, "((q @ k.mT) / (q.shape[-1] ** 0.5))")


def test_a_diagnosis_has_an_end() -> None:
    assert MOST_SECONDS < 3
    lesson = find_lesson("scaled_dot_product")
    checker = Checker(lesson, 5)
    failure = checker.failure_of(SOFTMAX_OVER_QUERIES)
    no_scale, values = (w for w in lesson.wrong if w.name in ("no_scale", "keys_as_values"))
    both = checker.failure_of(values.apply(no_scale.apply(lesson.solution)))
    assert failure is not None
    assert both is not None
    results = []
    for seconds in (60.0, 0.0):
        diagnoser = Diagnoser(checker, seconds)
        results.append((bool(diagnoser.change(failure)), bool(diagnoser.pair(both))))
    assert results == [(True, True), (False, False)]


@pytest.mark.parametrize(
    ("lesson", "old", "new", "stage"),
    [
        ("shifted_windows", 'float("-inf")', "-100.0", "behaviour"),
        ("mixed_precision", "zero_grad()", "zero_grad(set_to_none=True)", ""),
    ],
)
def test_a_lesson_takes_what_it_should(lesson: str, old: str, new: str, stage: str) -> None:
    checker = Checker(find_lesson(lesson), 5)
    assert old in checker.lesson.solution
    failure = checker.failure_of(checker.lesson.solution.replace(old, new))
    assert (failure.stage if failure else "") == stage
