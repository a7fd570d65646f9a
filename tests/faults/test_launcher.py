"""Under torchrun: workers that are killed are started anew and go on; SIGTERM saves in all."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch

from tests.train.test_fit import digest
from tests.train.tiny import write_recipe
from vitrail.run_folder import RunFolder
from vitrail.tensor_bytes import tensor_bytes

LONG = 900  # seconds, after which something waits for ever; a busy machine takes minutes
STARTED = list[subprocess.Popen[bytes]]()
SETTINGS = ("schedule.epochs=6", "train.save_every=4")


def launch(recipe: Path, run: Path, *options: str) -> subprocess.Popen[bytes]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", *options]
    program = ["-m", "tests.faults.noted_exit", "train", str(recipe), "--out", str(run)]
    environment = {"OMP_NUM_THREADS": "1", "EXIT_CODES": str(run.with_suffix(".codes"))}
    with open(run.with_suffix(".log"), "ab") as log:
        process = subprocess.Popen(
            [*launcher, "--nproc_per_node", "2", *program],
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def _no_processes_left() -> Iterator[None]:
    yield
    for process in STARTED:
        if process.poll() is None:
            process.terminate()  # which it hands on to its own
            process.wait(LONG)
    STARTED.clear()


def workers(launcher: subprocess.Popen[bytes]) -> list[int]:
    """The processes that the launcher has started, by their ranks."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    ranks: dict[int, int] = {}
    for child in map(int, children):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            ranks |= {int(e[5:]): child for e in environment if e.startswith(b"RANK=")}
    return [ranks[rank] for rank in sorted(ranks)]


def wait_for(step: int, launcher: subprocess.Popen[bytes], run: RunFolder) -> None:
    while not run.metrics or run.metrics[-1]["step"] < step:
        assert launcher.poll() is None, run.path.with_suffix(".log").read_text()
        time.sleep(0.005)


def content(run: Path) -> dict[str, str]:
    """`digest`, of shards without their headers, in which the order of metadata is by chance."""
    names = {name: value for name, value in digest(run).items() if "shard-" not in name}
    for file in sorted(run.rglob("shard-*")):
        tensors = safetensors.torch.load_file(file)
        parts = b"".join(tensor_bytes(tensors)[1:])
        names[str(file.relative_to(run))] = hashlib.sha256(parts).hexdigest()
    return names


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["null", "fsdp"])
def test_a_worker_that_is_killed_is_started_anew_and_goes_on(tmp_path: Path, sharding: str) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", *SETTINGS, f"train.sharding={sharding}")
    whole, run = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run")
    assert launch(recipe, whole.path).wait(LONG) == 0
    process = launch(recipe, run.path, "--max-restarts", "3")
    for rank, number, step in (
        (0, signal.SIGKILL, 10),
        (1, signal.SIGKILL, 25),
        (1, signal.SIGTERM, 40),
    ):
        wait_for(step, process, run)
        old = workers(process)
        os.kill(old[rank], number)
        # The lines of the steps that are repeated are cut off when the processes start anew.
        while process.poll() is None and (set(old) & {*(new := workers(process))} or len(new) < 2):
            time.sleep(0.05)
    assert process.wait(LONG) == 0, run.path.with_suffix(".log").read_text()[-3000:]
    assert content(run.path) == content(whole.path)
    log = run.path.with_suffix(".log").read_text()
    codes = run.path.with_suffix(".codes").read_text().split()
    # By what the processes that were left noticed first, the death or the launcher's SIGTERM.
    assert sorted(codes[:2]) in (["2", "2"], ["143", "2"], ["143", "143"])
    assert codes[2:] == ["143", "143", "0", "0"]
    assert "Traceback" not in log.replace("Traceback : to enable", "")


def launched_and_stopped(
    folder: Path, sharding: str, *, to_all: bool, seconds: float
) -> dict[str, int]:
    """torchrun of two processes, and SIGTERM so long after the first steps → what was right."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = ("schedule.epochs=1000", "train.save_every=1000", f"train.sharding={sharding}")
    recipe = write_recipe(folder / "recipe.yaml", *settings)
    run = RunFolder(folder / "run")
    process = launch(recipe, run.path)
    wait_for(3, process, run)
    time.sleep(seconds)
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGTERM)
    assert process.wait(LONG) != 0  # the launcher's own code
    codes = run.path.with_suffix(".codes").read_text().split()
    log = run.path.with_suffix(".log").read_text()
    no_step_lost = int(run.checkpoints[-1].name[5:]) >= run.metrics[-1]["step"]
    shards = len(list(run.checkpoints[-1].glob("shard-*")))
    return {
        "runs": 1,
        "workers": 2,
        "code_143": codes.count("143"),
        "saved": log.count("error: stopped; the last good checkpoint is"),
        "no_step_lost": no_step_lost and shards == (2 if sharding == "fsdp" else 0),
    }


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["null", "fsdp"])
@pytest.mark.parametrize("to_all", [False, True])
def test_each_process_saves_and_ends_with_143(tmp_path: Path, to_all: bool, sharding: str) -> None:
    counts = launched_and_stopped(tmp_path, sharding, to_all=to_all, seconds=0)
    assert counts == {"runs": 1, "workers": 2, "code_143": 2, "saved": 2, "no_step_lost": 1}
