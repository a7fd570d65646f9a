"""The JSON of a run from a stranger: what Vitrail writes there, or one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.security.fuzz import RUN_FILES, read_run
from tests.security.refusal import outcome
from vitrail.lens.report_page import write_report
from vitrail.run_folder import RunFolder

RAW = [
    b"[]\n", b"5\n", b"null\n", b"[" * 100_000 + b"\n", b'{"a":' * 5000 + b"\n", b"\xff\xfe\n",
    b"\0\n", b'{"step": 1, "step": 2}\n', b"9" * 5000 + b"\n", b"{}\n",
]  # fmt: skip
MEASURES = RUN_FILES["explanations.json"]["explanations"][0]
ENTRIES: list[tuple[str, str, Any]] = [  # file, path of an entry, value
    ("metrics.jsonl", "step", "1"), ("metrics.jsonl", "split", 5), ("metrics.jsonl", "loss", "x"),
    ("metrics.jsonl", "loss", [1]), ("metrics.jsonl", "epoch", {}), ("metrics.jsonl", "step", True),
    ("timing.jsonl", "seconds", None), ("timing.jsonl", "more", 1), ("notes.jsonl", "text", 5),
    ("summary.json", "training", 5), ("summary.json", "data.splits", []),
    ("summary.json", "data.splits.train.images", "5"), ("summary.json", "device", None),
    ("evaluation.json", "labels", "ab"), ("evaluation.json", "labels", [1, 2]),
    ("evaluation.json", "labels", ["a"]), ("evaluation.json", "confusion", [[1, "x"], [1, 1]]),
    ("evaluation.json", "confusion", [[1]]), ("evaluation.json", "confusion", 5),
    ("evaluation.json", "classes", [{"label": 5}]), ("evaluation.json", "scores", {"f1": []}),
    ("evaluation.json", "mistakes", [{"image": "0"}]), ("evaluation.json", "count", 1.5),
    ("explanations.json", "images", "4"), ("explanations.json", "more", 1),
    ("explanations.json", "explanations", [{"explanation": "rollout"}]),
    *(
        ("explanations.json", "explanations", [MEASURES | {name: value}])
        for name, value in (("deletion", "x"), ("deletion", None), ("insertion_error", []),
                            ("correlation", "0"), ("beats_random", 1), ("explanation", 5))
    ),
]  # fmt: skip


def write(folder: Path, contents: dict[str, Any]) -> RunFolder:
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content) + "\n")
    return RunFolder(folder)


def test_what_vitrail_writes_is_read(tmp_path: Path) -> None:
    run = write(tmp_path, RUN_FILES)
    assert outcome(lambda: read_run(run)) is None
    assert write_report(run).is_file()


def test_a_line_that_is_half_written_is_left_aside(tmp_path: Path) -> None:
    run = write(tmp_path, RUN_FILES)
    text = run.metrics_file.read_text()
    run.metrics_file.write_text(text + '{"step": 2, "split": "tr')
    assert run.metrics == [RUN_FILES["metrics.jsonl"]]


@pytest.mark.parametrize("content", RAW, ids=lambda value: repr(value)[:20])
def test_files_that_are_none(content: bytes, tmp_path: Path) -> None:
    for name in RUN_FILES:
        run = write(tmp_path, RUN_FILES)
        (tmp_path / name).write_bytes(content)
        assert outcome(lambda run=run: read_run(run)) is not None, name


@pytest.mark.parametrize(("name", "path", "value"), ENTRIES, ids=repr)
def test_entries_of_other_types(name: str, path: str, value: Any, tmp_path: Path) -> None:
    contents = json.loads(json.dumps(RUN_FILES))
    *parents, last = path.split(".")
    section = contents[name]
    for parent in parents:
        section = section[parent]
    section[last] = value
    run = write(tmp_path, contents)
    problem = outcome(lambda: read_run(run))
    assert problem is not None
    assert str(tmp_path) in str(problem)
