"""Under torchrun: workers that are killed are started anew and go on; SIGTERM saves in all."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.test_fit import digest
from tests.train.tiny import write_recipe
from vitrail.run_folder import RunFolder

SETTINGS = ("schedule.epochs=6", "train.save_every=4")


def launch(recipe: Path, run: Path, *options: str) -> subprocess.Popen[bytes]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", *options]
    program = ["-m", "vitrail", "train", str(recipe), "--out", str(run)]
    with open(run.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(
            [*launcher, "--nproc_per_node", "2", *program],
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )


def workers(launcher: subprocess.Popen[bytes]) -> list[int]:
    """The processes that the launcher has started, by their ranks."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    ranks = {}
    for child in map(int, children):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            ranks |= {int(e[5:]): child for e in environment if e.startswith(b"RANK=")}
    return [ranks[rank] for rank in sorted(ranks)]


def wait_for(step: int, launcher: subprocess.Popen[bytes], run: RunFolder) -> None:
    while not run.metrics or run.metrics[-1]["step"] < step:
        assert launcher.poll() is None, run.path.with_suffix(".log").read_text()
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["null", "fsdp"])
def test_a_worker_that_is_killed_is_started_anew_and_goes_on(tmp_path: Path, sharding: str) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", *SETTINGS, f"train.sharding={sharding}")
    whole, run = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run")
    assert launch(recipe, whole.path).wait(200) == 0
    process = launch(recipe, run.path, "--max-restarts", "3")
    for rank, number, step in (
        (0, signal.SIGKILL, 10),
        (1, signal.SIGKILL, 25),
        (1, signal.SIGTERM, 40),
    ):
        wait_for(step, process, run)
        os.kill(workers(process)[rank], number)
        # The lines of the steps that are repeated are cut off when the processes start anew.
        old = workers(process)
        while process.poll() is None and workers(process) == old:
            time.sleep(0.05)
    assert process.wait(200) == 0, run.path.with_suffix(".log").read_text()[-3000:]
    assert digest(run.path) == digest(whole.path)
    log = run.path.with_suffix(".log").read_text()
    assert log.count("error: another process has stopped; the last good checkpoint is") >= 2
    assert "Traceback" not in log.replace("Traceback : to enable", "")


@pytest.mark.slow
@pytest.mark.parametrize("to_all", [False, True])
def test_each_process_saves_its_shares_and_ends_with_143(tmp_path: Path, to_all: bool) -> None:
    settings = ("schedule.epochs=1000", "train.save_every=1000", "train.sharding=fsdp")
    recipe = write_recipe(tmp_path / "recipe.yaml", *settings)
    run = RunFolder(tmp_path / "run")
    process = launch(recipe, run.path)
    wait_for(3, process, run)
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGTERM)
    assert process.wait(60) != 0  # the launcher's own code
    log = run.path.with_suffix(".log").read_text()
    assert log.count("error: stopped; the last good checkpoint is") == 2, log
    steps = int(run.checkpoints[-1].name[5:])
    assert steps >= run.metrics[-1]["step"], "no step is lost"
    assert len(list(run.checkpoints[-1].glob("shard-*"))) == 2
