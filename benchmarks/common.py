"""Timing rivals fairly: in one process, in turn, with equal threads."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def compare(
    rivals: dict[str, Callable[[], Any]],
    rounds: int,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, float]]:
    """Seconds of each rival, called in turn so that a busy moment of the machine hits all alike.

    `ratio` is the median over the rounds of the rival's time divided by the first rival's: above 1
    the first is faster.
    """
    for _ in range(warmup):
        for call in rivals.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, call in rivals.items():
            begin = clock()
            call()
            seconds[name].append(clock() - begin)
    ours = next(iter(seconds.values()))
    return {
        name: {
            "median": statistics.median(times),
            "min": min(times),
            "ratio": statistics.median(t / o for t, o in zip(times, ours, strict=True)),
            "ratio_of_min": min(times) / min(ours),
        }
        for name, times in seconds.items()
    }


def show(title: str, table: dict[str, dict[str, float]], images: int) -> None:
    """Prints a comparison, one rival a line."""
    print(title)
    for name, row in table.items():
        rate = images / row["median"]
        print(
            f"  {name:<28} {1000 * row['median']:9.1f} ms  {rate:8.1f} img/s  "
            f"{row['ratio']:6.2f}x our time (min: {row['ratio_of_min']:.2f}x)"
        )


def run_command(command: list[str]) -> float:
    """Runs `vitrail ...` or `python ...` in the repository, one thread → seconds of the processor.

    Raises `RuntimeError` with the end of its output if it fails.
    """
    rest = command[1:] if command[0] == "python" else ["-m", *command]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [sys.executable, *rest],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            log.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {log.read()[-300:].decode()}")
    return used.ru_utime + used.ru_stime


def machine() -> dict[str, Any]:
    """The machine that the figures are from."""
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(": ")[2] if names else model
    return {
        "processor": model,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def read(name: str) -> dict[str, Any]:
    """The content of benchmarks/results/NAME.json; nothing, if there is no such file."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def write(name: str, results: dict[str, Any], report: bool = True) -> None:
    """Writes benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **results}, indent=1) + "\n")
    if report:
        print(f"written: {path.relative_to(ROOT)}")
