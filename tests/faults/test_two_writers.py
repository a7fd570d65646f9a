"""Two processes do not train into one folder, and a run repeats whatever was drawn before."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.faults.harness import CallAt
from tests.train.tiny import tiny
from vitrail.errors import ConfigError, TrainingError
from vitrail.run_folder import RunFolder
from vitrail.train.factory import train_run

HOLD = (
    "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
    "print('held', flush=True); sys.stdin.read()"
)


def test_a_second_process_is_told_in_a_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(TrainingError, match="is being trained by another process: wait"):
            train_run(tiny(), run.path)
        assert [path.name for path in run.path.iterdir()] == [".lock"]
        other.communicate(b"")
    train_run(tiny("schedule.epochs=1"), run.path)
    with pytest.raises(ConfigError, match="already holds a run"):
        train_run(tiny(), run.path)


def test_a_run_within_its_own_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")

    def again(_trainer: object) -> None:
        with pytest.raises(TrainingError, match="is being trained by another process"):
            train_run(tiny(), run.path, resume=True)

    train_run(tiny(), run.path, callbacks=[CallAt(7, again)])
    assert run.metrics[-1]["step"] == 24


def test_every_generator_is_seeded_and_saved(tmp_path: Path) -> None:
    states = []
    for number in range(2):
        random.seed(number)
        np.random.seed(number)
        run = RunFolder(tmp_path / f"run{number}")
        train_run(tiny("schedule.epochs=1"), run.path)
        state = json.loads((run.checkpoints[-1] / "state.json").read_text())
        states.append({**state, "callbacks": None})
    assert states[0] == states[1]
