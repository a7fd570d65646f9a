"""SIGTERM, SIGHUP and Ctrl-C finish the step, save it, and end with the right code."""

import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.faults import forked
from tests.faults.harness import CallAt, on_files
from tests.faults.stopped_runs import StoppedRuns
from tests.train.tiny import tiny
from vitrail.errors import TrainingError, TrainingStopped
from vitrail.run_folder import RunFolder
from vitrail.train import stopping
from vitrail.train.factory import train_run
from vitrail.train.stopping import catch_interrupt
from vitrail.train.trainer import Trainer

# A worker that is ended leaves a thread of its queue behind, which fails on the closed pipe.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

SIGNALS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]


@pytest.mark.slow  # a signal reaches whatever the process does, pytest included
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_loses_no_step_with_and_without_workers(
    tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    old = signal.getsignal(number)

    def everyone(_trainer: Trainer) -> None:
        children = multiprocessing.active_children()
        assert len(children) >= workers
        processes = [os.getpid(), *(child.pid for child in children)]
        # From outside: of the trainer's own signals workers end.
        subprocess.run(["kill", f"-{number.value}", *map(str, processes)], check=True)

    run = RunFolder(tmp_path / "run")
    config = on_files(tmp_path / "pets", f"data.workers={workers}", "train.save_every=1000")
    with pytest.raises(TrainingError, match="stopped; the last good .*step-00000003") as caught:
        train_run(config, run.path, callbacks=[CallAt(2, everyone)])
    assert isinstance(caught.value, TrainingStopped) == (number != signal.SIGINT)
    assert caught.value.exit_code == (2 if number == signal.SIGINT else 143)
    assert signal.getsignal(number) is old
    train_run(config, run.path, resume=True)
    assert run.evaluation


@pytest.mark.slow  # a signal reaches whatever the process does, pytest included
def test_a_second_signal_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(_trainer: Trainer) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    for seconds, saved in ((1000.0, 7), (-1.0, 5)):  # what counts as the same signal
        monkeypatch.setattr(stopping, "SAME_SECONDS", seconds)
        with pytest.raises(TrainingStopped, match=f"step-0000000{saved}"):
            train_run(tiny(), tmp_path / str(saved), callbacks=[CallAt(6, twice)])


def test_a_signal_that_is_ignored_stays_so() -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with catch_interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupt.number == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, old)


def test_the_command_ends_with_143(tmp_path: Path) -> None:
    recipe, run = tmp_path / "recipe.yaml", RunFolder(tmp_path / "run")
    config = on_files(tmp_path / "pets", "data.workers=2", "schedule.epochs=1000")
    recipe.write_text(yaml.safe_dump(config.plain()))
    (process,) = forked.train(recipe, run.path)
    forked.wait_for_steps([process], run.path)
    start = time.monotonic()
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGTERM)
    assert forked.finish([process], 60) == [143]
    assert time.monotonic() - start < 4  # batch systems wait for seconds only
    last = run.path.with_suffix(".log").read_text().splitlines()[-1]
    assert last.startswith("error: stopped; the last good checkpoint is")
    assert last.endswith("Go on by --resume.")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_signals_at_random_moments(tmp_path: Path, workers: int) -> None:
    runs = StoppedRuns(tmp_path, "supervised", workers=workers)
    for number in (signal.SIGTERM, signal.SIGHUP, *[signal.SIGTERM] * 8):
        right = runs.signalled(number)
        assert right == dict.fromkeys(right, True)
