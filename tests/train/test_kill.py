"""kill -9 at any moment, then --resume: the same bytes as the run that was never killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.test_fit import digest
from tests.train.tiny import write_recipe
from vitrail.files import TEMPORARY

MOMENTS, IN_A_SAVE = 20, 6
SETTINGS = ("data.limit=null", "schedule.epochs=6", "train.save_every=4")


def command(recipe: Path, run: Path, resume: bool) -> list[str]:
    resumed = ["--resume"] if resume else []
    program = "from vitrail.cli.main import main; main()"
    return [sys.executable, "-c", program, "train", str(recipe), "--out", str(run), *resumed]


def start(recipe: Path, run: Path, resume: bool) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(run.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(
            command(recipe, run, resume), stdout=log, stderr=log, env=environment
        )


def saving(run: Path) -> bool:
    """Whether a checkpoint is being written at this moment."""
    return any((run / "checkpoints").glob(f"step-*{TEMPORARY}"))


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def run_killed(recipe: Path, run: Path, choose: random.Random, in_a_save: bool) -> bool:
    """One run, killed once, resumed to its end → whether the kill fell into a save."""
    process = start(recipe, run, resume=False)
    while not (run / "metrics.jsonl").exists():
        assert process.poll() is None, run.with_suffix(".log").read_text()
        time.sleep(0.001)
    wait = choose.uniform(0.0, 1.2)
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.0005)
    hit = False
    while in_a_save and process.poll() is None and not hit:
        hit = saving(run)
    kill(process)
    assert process.returncode == -signal.SIGKILL, "the run had ended before the kill"
    hit = saving(run)
    again = start(recipe, run, resume=True)
    assert again.wait() == 0, run.with_suffix(".log").read_text()
    return hit


def same_bytes(folder: Path, workers: int, moments: int, in_a_save: int) -> int:
    """Kills a run at so many moments; returns how many fell into a save."""
    recipe = write_recipe(folder / "recipe.yaml", *SETTINGS, f"data.workers={workers}")
    whole = folder / "whole"
    assert start(recipe, whole, resume=False).wait() == 0, whole.with_suffix(".log").read_text()
    expected = digest(whole)
    choose, hits = random.Random(workers), 0
    for number in range(moments):
        run = folder / f"killed-{number}"
        hits += run_killed(recipe, run, choose, in_a_save=number < in_a_save)
        assert digest(run) == expected, f"kill {number} changed the outcome"
    return hits


def test_killed_twice(tmp_path: Path) -> None:
    same_bytes(tmp_path, workers=0, moments=2, in_a_save=1)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_twenty_moments(tmp_path: Path, workers: int) -> None:
    hits = same_bytes(tmp_path, workers, MOMENTS, IN_A_SAVE + 4)
    assert hits >= 5, f"only {hits} kills fell into a save"
