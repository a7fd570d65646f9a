"""The tool that makes one-line errors: it knows a killed one from one that survives."""

from pathlib import Path

import pytest

pytest.importorskip("tomllib")  # Python 3.11, which the tools ask for

from tools import mutate
from tools.mutate import Mutation

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with a function of two lines, one of which is tested."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "sums.py").write_text("def double(x):\n    y = 2 * x\n    return y + 0\n")
    (tmp_path / "test_sums.py").write_text(
        "from sums import double\n\n\ndef test_it():\n    assert double(2) == 4\n"
    )
    (tmp_path / "test_other.py").write_text("def test_it():\n    pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def mutation(old: str, new: str, tests: str = "test_sums.py") -> Mutation:
    return Mutation("M0", "src/sums.py", old, new, (tests,), "a change")


def test_a_noticed_error_is_killed(tree: Path) -> None:
    before = (tree / "src" / "sums.py").read_text()
    outcome = mutate.decide_mutation(mutation("2 * x", "3 * x"), tree, None, 60)
    assert (outcome.verdict, outcome.by) == ("killed", "test_sums.py::test_it")
    assert (tree / "src" / "sums.py").read_text() == before


def test_an_unnoticed_change_survives(tree: Path) -> None:
    outcome = mutate.decide_mutation(mutation("y + 0", "y - 0"), tree, [], 60)
    assert outcome.verdict == "survived"
    outcome = mutate.decide_mutation(mutation("2 * x", "3 * x", "test_other.py"), tree, None, 60)
    assert outcome.verdict == "survived its own tests"


def test_the_whole_suite_comes_after_its_own_tests(tree: Path) -> None:
    other = mutation("2 * x", "3 * x", "test_other.py")
    outcome = mutate.decide_mutation(other, tree, ["test_sums.py"], 60)
    assert outcome.verdict == "killed"


def test_what_does_not_run_decides_nothing(tree: Path) -> None:
    outcome = mutate.decide_mutation(mutation("2 * x", "3 * x", "absent.py"), tree, None, 60)
    assert outcome.verdict == "undecided"
    with pytest.raises(ValueError, match="0 times 'absent', not once"):
        mutation("absent", "").apply(tree)


def test_the_list_is_up_to_date() -> None:
    """Every mutation changes a line that is there, and names tests that exist."""
    problems = []
    for entry in mutate.read_mutations():
        path = ROOT / entry.file
        count = path.read_text("utf-8").count(entry.old) if path.is_file() else 0
        if count != 1 or entry.old == entry.new:
            problems.append(f"{entry.id}: {entry.file} has {entry.old!r} {count} times, not once")
        files = [t.partition("::")[0] for t in entry.tests if t.startswith("tests/")]
        problems += [f"{entry.id}: no {f}" for f in files if not (ROOT / f).exists()]
    assert not problems, "\n".join(problems)
