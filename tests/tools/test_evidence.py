"""The runner of long measurements: it resumes, it keeps what is measured, it makes the page."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("tomllib")  # Python 3.11, which the tools ask for

from tests.faults.proofs import PROOFS
from tools import evidence, reliability
from tools.evidence import Row

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, pathlib, sys
folder, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2])
if seed == 13:
    sys.exit("seed 13 fails")
(folder / "figures.json").write_text(json.dumps({"a": {"b": [seed * 2.0, 0]}}))
with open(folder.parent / "calls.txt", "a") as calls:
    calls.write(f"{seed}\\n")
"""


@pytest.fixture
def row(tmp_path: Path) -> Row:
    """A row that takes a moment."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return Row(
        "double", "Numbers", (f"python {script} {{run}} {{seed}}",), "{run}/figures.json",
        {"twice": "a.b.0"}, seeds=(1, 2),
    )  # fmt: skip


def calls(folder: Path) -> list[str]:
    return (folder / "runs" / "calls.txt").read_text().split()


def run(rows: list[Row], folder: Path) -> int:
    return evidence.run(rows, folder / "results", runs=folder / "runs")


def test_a_row_is_measured_once(row: Row, tmp_path: Path) -> None:
    assert run([row], tmp_path) == 0
    assert run([row], tmp_path) == 0
    assert calls(tmp_path) == ["1", "2"]
    result = json.loads((tmp_path / "results" / "double.json").read_text())
    assert [r["figures"] for r in result["runs"]] == [{"twice": 2.0}, {"twice": 4.0}]
    assert result["mean"] == {"twice": 3.0}
    half = 12.706 * 2**0.5 / 2**0.5
    assert result["interval"]["twice"] == pytest.approx([3 - half, 3 + half])
    assert all(r["seconds"][0] > 0 for r in result["runs"])


def test_it_goes_on_with_the_seeds_that_are_missing(row: Row, tmp_path: Path) -> None:
    run([dataclasses.replace(row, seeds=(2,))], tmp_path)
    run([dataclasses.replace(row, seeds=(2, 5))], tmp_path)
    assert calls(tmp_path) == ["2", "5"]


def test_a_failure_is_counted_and_stops_nothing(row: Row, tmp_path: Path) -> None:
    row = dataclasses.replace(row, seeds=(13, 3))
    assert run([row], tmp_path) == 1
    assert calls(tmp_path) == ["3"]
    assert evidence.missing_seeds(row, tmp_path / "results") == [13]


def test_other_commands_start_anew(row: Row, tmp_path: Path) -> None:
    run([row], tmp_path)
    other = dataclasses.replace(row, commands=(row.commands[0] + " more",))
    assert evidence.missing_seeds(other, tmp_path / "results") == [1, 2]


def test_what_is_needed_once_is_made_once(row: Row, tmp_path: Path) -> None:
    file = tmp_path / "once.txt"
    maker = tmp_path / "maker.py"
    maker.write_text(f"open({str(file)!r}, 'a').write('x')")
    run([dataclasses.replace(row, once={str(file): f"python {maker}"})], tmp_path)
    assert file.read_text() == "x"


def test_the_page(row: Row, tmp_path: Path) -> None:
    base = dataclasses.replace(row, id="base", seeds=(1,))
    gain = dataclasses.replace(row, id="gain", seeds=(2, 3), beside="base", note="Twice the seed.")
    unmeasured = dataclasses.replace(row, id="later")
    run([base, gain], tmp_path)
    page = evidence.page([base, gain, unmeasured], tmp_path / "results")
    lines = [line for line in page.splitlines() if line.startswith("|")][2:]
    assert [line.split(" | ")[0] for line in lines] == ["| base", "| gain. Twice the seed"]
    assert "| twice 5 ± 13 | +3 | 2, 3 |" in lines[1]


def test_counts_are_added_up(row: Row, tmp_path: Path) -> None:
    counted = dataclasses.replace(row, counts=True)
    run([counted], tmp_path)
    assert evidence.totals(counted, tmp_path / "results") == {"twice": 6}
    assert "| twice 6 |" in evidence.page([counted], tmp_path / "results")
    largest = dataclasses.replace(row, id="largest", keys={"twice_max": "twice"}, counts=True)
    largest = dataclasses.replace(largest, keys={"twice_max": next(iter(row.keys.values()))})
    run([largest], tmp_path)
    assert evidence.totals(largest, tmp_path / "results") == {"twice_max": 4}


def test_the_table_of_proofs_tells_of_what_was_run(tmp_path: Path) -> None:
    rows = [row for row in evidence.read_rows() if row.id in reliability.LINES]
    assert {row.id for row in rows} == reliability.LINES.keys()
    assert {row.id: len(row.seeds) for row in rows} == {
        f"proof_{name}": seeds for name, (_proof, seeds) in PROOFS.items()
    }
    kills = next(row for row in rows if row.id == "proof_kills")
    figures = {"kills": 5.0, "in_a_save": 2.0, "equal": 5.0}
    for seed in (0, 1):
        new = {"seed": seed, "figures": figures, "seconds": [1.0], "commit": "abc"}
        evidence.add(kills, new, tmp_path)
    for chinese, words in (
        (False, "10 of 10 end with the same"),
        (True, "10 次中 10 次的所有文件"),
    ):
        lines = reliability.table(rows, tmp_path, chinese=chinese).splitlines()
        assert len(lines) == 3
        assert words in lines[2]
        assert lines[2].endswith("| 2 / 14 | abc |")
    for line in reliability.LINES.values():
        names = [set(re.findall(r"{(\w+)}", text)) for text in line]
        assert names[0] | names[1] == names[2] | names[3]


def test_the_list_names_files_that_exist() -> None:
    rows = evidence.read_rows()
    words = {word for row in rows for command in row.commands for word in command.split()}
    files = {word for word in words if word.startswith("recipes/")}
    recipes = {file for file in files if file.endswith(".yaml")}  # others are plug-ins
    assert recipes
    assert not [file for file in files if not (ROOT / file).is_file()]
    for folder in ("zoo", "methods"):
        listed = {Path(r).name for r in recipes if Path(r).parent.name == folder}
        shared = {"base.yaml", "pretrain.yaml", "few_labels.yaml"}
        assert listed == {p.name for p in (ROOT / "recipes" / folder).glob("*.yaml")} - shared
    assert {row.beside for row in rows} <= {"", *(row.id for row in rows)}
