"""What pretraining, a teacher and captions are worth, on Fashion-MNIST with 1,000 labels.

python -m benchmarks.it_helps [--only mae,dino] [--seeds 3] [--jobs 2]

Every row is a chain of commands that a user would type, run as they stand on one thread, for each
seed; its figure is the accuracy on the 10,000 test images that the last command prints. Rows that
are compared with each other fine-tune for equally many steps. Seconds are of the processor, of all
the chain's commands together, reading data and reports included.
"""

import argparse
import json
import math
import shlex
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes" / "methods"))

import conv_teacher as teacher

from benchmarks.common import read, run_command, write

RECIPES = "recipes/methods"


class Row(NamedTuple):
    """Commands, in which {runs} and {seed} are filled in, and the row they are compared with."""

    commands: tuple[str, ...]
    beside: str = ""


def pretrained(*names: str) -> Row:
    """Pretraining by recipes, each from what the one before made, then fine-tuning."""
    runs = [f"{{runs}}/{name}-{{seed}}" for name in names]
    commands = [
        f"vitrail train {RECIPES}/fashion_{name}.yaml train.seed={{seed}} --out {run}"
        for name, run in zip(names, runs, strict=True)
    ]
    if "dvae" in names:
        commands[-1] += f" method.tokenizer={runs[0]}"
    fine = (
        f"vitrail train {RECIPES}/fashion_finetune.yaml model.weights={runs[-1]} "
        f"train.seed={{seed}} --out {{runs}}/{names[-1]}-fine-{{seed}}"
    )
    return Row((*commands, fine), "scratch")


def alone(name: str, beside: str = "", more: str = "") -> Row:
    """One recipe."""
    command = f"vitrail train {RECIPES}/fashion_{name}.yaml train.seed={{seed}} {more}"
    return Row((f"{command.strip()} --out {{runs}}/{name}-{{seed}}",), beside)


ROWS = {
    "scratch": alone("scratch"),
    "mae": pretrained("mae"),
    "simmim": pretrained("simmim"),
    "mpp": pretrained("mpp"),
    "beit": pretrained("dvae", "beit"),
    "dino": pretrained("dino"),
    "distill": alone("distill", "scratch"),
    "distill_unlabelled": alone("distill_unlabelled", "scratch"),
    "clip": alone("clip"),
}
TEACHER = "python recipes/methods/conv_teacher.py"  # once, before the rows whose teacher it is


def run(name: str, seed: int, runs: Path) -> dict[str, Any]:
    """Runs a row's commands for one seed → accuracy and seconds of each command."""
    seconds: list[float] = []
    for command in ROWS[name].commands:
        filled = command.format(runs=runs, seed=seed)
        seconds.append(run_command(shlex.split(filled)))
    last = Path(filled.rpartition("--out ")[2])
    figures = json.loads((last / "evaluation.json").read_text())
    return {"name": name, "seed": seed, "accuracy": figures["top1"], "seconds": seconds}


def summary(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each name: mean, its standard error, and the gain over the row beside it."""
    by_name: dict[str, dict[int, dict[str, Any]]] = {}
    for result in results:
        by_name.setdefault(result["name"], {})[result["seed"]] = result
    rows = []
    for name, row in ROWS.items():
        if name not in by_name:
            continue
        found = by_name[name]
        values = [r["accuracy"] for r in found.values()]
        mean, error = centre(values)
        commands = (TEACHER, *row.commands) if name.startswith("distill") else row.commands
        told: dict[str, Any] = {
            "name": name,
            "seeds": sorted(found),
            "accuracies": values,
            "mean": mean,
            "error": error,
            "seconds": [
                statistics.mean(s)
                for s in zip(*(r["seconds"] for r in found.values()), strict=True)
            ],
            "commands": [c.format(runs="runs", seed=0) for c in commands],
        }
        if row.beside in by_name:
            other_mean, other_error = centre([r["accuracy"] for r in by_name[row.beside].values()])
            told |= {
                "beside": row.beside,
                "gain": mean - other_mean,
                "gain_error": math.hypot(error, other_error),
            }
        rows.append(told)
    return rows


def centre(values: list[float]) -> tuple[float, float]:
    """Mean and its standard error; of a single value, that is not known."""
    if len(values) < 2:
        return values[0], math.nan
    return statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))


def main() -> None:
    """Runs what is asked for and adds it to the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="rows, separated by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--missing", action="store_true", help="only what is not known yet")
    parser.add_argument("--runs", type=Path, help="where runs are kept; else they are deleted")
    asked = parser.parse_args()
    names = asked.only.split(",") if asked.only else list(ROWS)
    results = read("it_helps").get("results", [])
    known = {(r["name"], r["seed"]) for r in results} if asked.missing else set()
    results = [r for r in results if r["name"] in ROWS]
    if not asked.missing:
        results = [r for r in results if r["name"] not in names]
    if any(name.startswith("distill") for name in names) and not teacher.FILE.is_file():
        run_command(shlex.split(TEACHER))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(asked.jobs) as pool:
        runs = asked.runs or Path(folder)
        todo = [
            pool.submit(run, name, seed, runs)
            for seed in range(asked.seeds)
            for name in names
            if (name, seed) not in known
        ]
        for done in as_completed(todo):
            results.append(done.result())
            last = results[-1]
            print(
                f"{last['name']:<12} seed {last['seed']}  {last['accuracy']:.2%}  "
                f"{sum(last['seconds']):.0f} s",
                flush=True,
            )
            write("it_helps", {"results": results, "rows": summary(results)}, told=False)
    for row in summary(results):
        gain = f"  {row['gain']:+.2%} ± {row['gain_error']:.2%}" if "gain" in row else ""
        print(f"{row['name']:<12} {row['mean']:.2%} ± {row['error']:.2%}{gain}")


if __name__ == "__main__":
    main()
