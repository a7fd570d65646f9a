"""Runs what takes hours, row by row, and makes docs/en/evidence.md of the figures.

    python -m tools.evidence --list            # the rows, and which are done
    python -m tools.evidence --only mae,dino   # these; all, without --only
    python -m tools.evidence --page            # only the page

`tools/evidence.toml` lists the rows: a row is one or more commands, run for each of its seeds.
After each seed the row's figures are written to `benchmarks/results/evidence/ID.json`. A run that
was stopped goes on with the next seed that is missing; a row whose commands have changed starts
anew.
"""

import argparse
import json
import math
import shlex
import shutil
import statistics
import subprocess
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import tomllib

from benchmarks.common import run_command
from tools import reliability
from tools.source import ROOT

ROWS = ROOT / "tools" / "evidence.toml"
RESULTS = ROOT / "benchmarks" / "results" / "evidence"
RUNS = ROOT / "runs" / "evidence"
PAGE = ROOT / "docs" / "en" / "evidence.md"

# Student's t, two-sided 95 %, by the number of seeds less one.
QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Row:
    """One row of evidence.

    Args:
        id: name of the row and of its JSON file.
        table: heading of the table that the row is in.
        commands: what to run, in order, as typed in the root of the repository. `{seed}` and
            `{run}`, a folder of the row's own for each seed, are filled in.
        figures: where the last command leaves its figures, a JSON file.
        keys: name of a figure → dotted path of the number in that file.
        seeds: the seeds to run (default: 0).
        beside: id of the row whose mean is subtracted in the column "gain" (default: none).
        once: a file that the commands need, and the command that makes it if it is missing.
        note: one sentence for the page.
        counts: whether the figures are counts, whose sum over the seeds is told; of names that end
            in "_max" it is the largest.
    """

    id: str
    table: str
    commands: tuple[str, ...]
    figures: str
    keys: dict[str, str]
    seeds: tuple[int, ...] = (0,)
    beside: str = ""
    once: dict[str, str] = field(default_factory=dict)
    note: str = ""
    counts: bool = False


def read_rows(path: Path = ROWS) -> list[Row]:
    """The rows of a list. `defaults.TABLE` holds what all rows of a table have in common."""
    settings = tomllib.loads(path.read_text("utf-8"))
    rows = []
    for name, own in settings["rows"].items():
        row = {**settings.get("defaults", {}).get(own["table"], {}), **own}
        for key in ("commands", "seeds"):
            if key in row:
                row[key] = tuple(row[key])
        rows.append(Row(id=name, **row))
    return rows


def read_result(row: Row, results: Path) -> dict[str, Any]:
    """What is measured of a row so far; nothing, if its commands were others then."""
    path = results / f"{row.id}.json"
    result = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return result if result.get("commands") == list(row.commands) else {}


def missing_seeds(row: Row, results: Path) -> list[int]:
    measured = {r["seed"] for r in read_result(row, results).get("runs", [])}
    return [seed for seed in row.seeds if seed not in measured]


def measure(row: Row, seed: int, runs: Path = RUNS) -> dict[str, Any]:
    """Runs the commands for one seed → seed, figures, seconds of the processor, commit."""
    run = runs / f"{row.id}-{seed}"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    for path, command in row.once.items():
        if not (ROOT / path).is_file():
            run_command(shlex.split(command))
    filled = [c.format(run=run, seed=seed) for c in row.commands]
    seconds = [run_command(shlex.split(command)) for command in filled]
    figures = json.loads((ROOT / row.figures.format(run=run, seed=seed)).read_text("utf-8"))
    values = {name: number(figures, path) for name, path in row.keys.items()}
    shutil.rmtree(run)
    return {"seed": seed, "figures": values, "seconds": seconds, "commit": commit()}


def number(figures: Any, path: str) -> float:
    """The number at a dotted path, such as "cases.MAE.ratio" or "rows.0.ratio"."""
    for part in path.split("."):
        figures = figures[int(part)] if isinstance(figures, list) else figures[part]
    return float(figures)


def commit() -> str:
    """The commit that is checked out, with "+" if files differ from it; "" without git."""
    command = ["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return answer.stdout.strip()


def add(row: Row, new: dict[str, Any], results: Path) -> dict[str, Any]:
    """Adds a seed's run to the row's file → all that the file holds."""
    former = [r for r in read_result(row, results).get("runs", []) if r["seed"] != new["seed"]]
    runs = sorted([*former, new], key=lambda r: r["seed"])
    result = {"id": row.id, "commands": list(row.commands), "runs": runs}
    result["mean"], result["interval"] = {}, {}
    for name in row.keys:
        mean, half = mean_and_interval([r["figures"][name] for r in runs])
        result["mean"][name] = mean
        result["interval"][name] = None if half is None else [mean - half, mean + half]
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{row.id}.json"
    path.with_suffix(".tmp").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    path.with_suffix(".tmp").replace(path)
    return result


def mean_and_interval(values: list[float]) -> tuple[float, float | None]:
    """The mean, and half the width of its 95 % interval; None for a single value."""
    if len(values) < 2:
        return values[0], None
    quantile = QUANTILES[min(len(values) - 1, len(QUANTILES)) - 1]
    return statistics.mean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))


def totals(row: Row, results: Path) -> dict[str, int]:
    """The counts of a row, over all seeds that are measured; empty where none is."""
    runs = [run["figures"] for run in read_result(row, results).get("runs", [])]
    return {
        name: int((max if name.endswith("_max") else sum)(figures[name] for figures in runs))
        for name in row.keys
        if runs
    }


HEAD = """# Evidence

Made by `make evidence`; do not edit. A figure is the mean over the seeds, ± half of its 95 %
interval (Student's t); a count is the sum over the seeds, or the largest where its name ends in
`_max`. Minutes are of the processor, of all the row's commands together, the mean over the seeds. A
`+` after a commit: files differed from it.
"""
COLUMNS = """| row | figures | gain | seeds | minutes | commit | commands |
| --- | --- | --- | --- | ---: | --- | --- |
"""


def page(rows: list[Row], results: Path) -> str:
    """The page: a table for each `table` of the rows, with what is measured."""
    parts = [HEAD]
    for table in dict.fromkeys(row.table for row in rows):
        lines = [line(row, rows, results) for row in rows if row.table == table]
        if any(lines):
            parts.append(f"## {table}\n\n{COLUMNS}" + "\n".join(filter(None, lines)) + "\n")
    return "\n".join(parts)


def line(row: Row, rows: list[Row], results: Path) -> str:
    """A row of the page; "" if nothing is measured."""
    result = read_result(row, results)
    if not result:
        return ""
    figures, gains = [], []
    other = next((read_result(r, results) for r in rows if r.id == row.beside), {})
    counted = totals(row, results) if row.counts else {}
    figures += [f"{name} {count:,}" for name, count in counted.items()]
    for name in () if row.counts else row.keys:
        mean, half = mean_and_interval([r["figures"][name] for r in result["runs"]])
        figures.append(f"{name} {mean:.4g}" + (f" ± {half:.2g}" if half is not None else ""))
        if other:
            gains.append(f"{mean - other['mean'][name]:+.3g}")
    minutes = statistics.mean(sum(r["seconds"]) for r in result["runs"]) / 60
    commits = ", ".join(dict.fromkeys(r["commit"] for r in result["runs"]))
    commands = [*row.once.values(), *row.commands]
    cell = "<br>".join(f"`{c.format(run=f'runs/{row.id}', seed=0)}`" for c in commands)
    seeds = ", ".join(str(r["seed"]) for r in result["runs"])
    cells = (f"{row.id}. {row.note}".strip(". "), "; ".join(figures), "; ".join(gains), seeds)
    return f"| {' | '.join(cells)} | {minutes:.1f} | {commits} | {cell} |"


def run(rows: list[Row], results: Path, jobs: int = 1, runs: Path = RUNS) -> int:
    """Measures what is missing → how many seeds failed. One failure does not stop the others."""
    lock, failures = Lock(), 0
    with ThreadPoolExecutor(jobs) as pool:
        tasks = {
            pool.submit(measure, row, seed, runs): (row, seed)
            for row in rows
            for seed in missing_seeds(row, results)
        }
        for task in as_completed(tasks):
            row, seed = tasks[task]
            try:
                with lock:
                    add(row, task.result(), results)
                print(f"{row.id} seed {seed}: {task.result()['figures']}", flush=True)
            except (RuntimeError, OSError, KeyError) as error:
                failures += 1
                print(f"{row.id} seed {seed} failed: {error}", flush=True)
    return failures


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="show the rows and run nothing")
    parser.add_argument("--only", default="", help="ids, separated by commas")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, one thread each")
    parser.add_argument("--page", action="store_true", help="write the page and run nothing")
    options = parser.parse_args()
    rows = read_rows()
    names = options.only.split(",") if options.only else [row.id for row in rows]
    if unknown := set(names) - {row.id for row in rows}:
        parser.error(f"no row {', '.join(sorted(unknown))}: --list shows the rows.")
    selected = [row for row in rows if row.id in names]
    if options.list:
        for row in selected:
            count = len(row.seeds) - len(missing_seeds(row, RESULTS))
            print(f"{row.id:<22} {count} of {len(row.seeds)} seeds  {row.table}")
        return
    failures = 0 if options.page else run(selected, RESULTS, options.jobs)
    PAGE.write_text(page(rows, RESULTS), "utf-8")
    reliability.write(rows, RESULTS)
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
