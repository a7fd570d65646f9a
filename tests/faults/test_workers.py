"""Files that cannot be read for a moment or for good, and workers that are killed or hang."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from tests.faults.harness import CallAt, on_files
from tests.train.tiny import tiny
from vitrail.data import loader
from vitrail.errors import DataError, TrainingError
from vitrail.run_folder import RunFolder
from vitrail.train import stopping
from vitrail.train.factory import train_run
from vitrail.train.trainer import Trainer

# A worker that is ended leaves a thread of its queue behind, which fails on the closed pipe.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def test_a_drive_that_fails_once_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = loader._Items._item, []

    def item(self: loader._Items, key: loader.Key) -> object:
        if key not in failed and key[2] % 3 == 0:
            failed.append(key)
            return DataError(f"{key} cannot be read (Stale file handle).")
        return real(self, key)

    whole, run = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "run")
    train_run(on_files(tmp_path / "pets"), whole.path)
    monkeypatch.setattr(loader, "RETRY_SECONDS", 0)
    monkeypatch.setattr(loader._Items, "_item", item)
    train_run(on_files(tmp_path / "pets"), run.path)
    assert failed
    assert run.metrics == whole.metrics


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_vanishes_is_replaced_where_bad_images_are_skipped(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], workers: int
) -> None:
    root = tmp_path / "pets"
    config = on_files(root, f"data.workers={workers}", "data.bad_images=skip")
    gone = sorted((root / "cat").iterdir())[:6]

    def hide(_trainer: Trainer) -> None:
        for path in gone:
            path.unlink()

    train_run(config, tmp_path / "run", callbacks=[CallAt(4, hide)])
    lines = [line for line in capfd.readouterr().err.splitlines() if "in its place" in line]
    assert lines
    assert all("cannot be read (No such file or directory)" in line for line in lines)


def test_a_signal_to_all_spares_a_worker_that_is_just_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loader.outlive_signals

    def signalled(worker: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        real(worker)

    monkeypatch.setattr(loader, "outlive_signals", signalled)
    run = RunFolder(tmp_path / "run")
    train_run(on_files(tmp_path / "pets", "data.workers=1"), run.path)
    assert run.evaluation


def test_a_killed_worker_is_one_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")

    def kill(_trainer: Trainer) -> None:
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        time.sleep(0.5)  # until the system has told of it

    config = on_files(tmp_path / "pets", "data.workers=1")
    with pytest.raises(TrainingError, match="a process that reads samples was killed; .*step-0+2"):
        train_run(config, run.path, callbacks=[CallAt(3, kill)])
    train_run(config, run.path, resume=True)
    assert run.evaluation


@pytest.mark.parametrize("problem", [ConnectionResetError(104, "Connection reset"), EOFError()])
def test_a_worker_that_is_killed_as_it_hands_over_a_batch_is_one_line(
    tmp_path: Path, problem: Exception
) -> None:
    def fail(_trainer: Trainer) -> None:
        raise problem

    with pytest.raises(TrainingError) as caught:
        train_run(tiny("data.limit=100"), tmp_path / "run", callbacks=[CallAt(0, fail)])
    text = "a process that reads samples, or a server, has closed its connection; there is no "
    assert str(caught.value).startswith(text)


def test_a_death_that_torch_tells_of_late_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch raises in the handler of a signal, wherever the process is."""
    death = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
    text = "a process that reads samples was killed; "

    class CloseLate(CallAt):
        def close(self, trainer: Trainer) -> None:
            raise death

    def fail(_trainer: Trainer) -> None:
        raise ConnectionResetError

    with pytest.raises(TrainingError, match=text):
        train_run(tiny("data.limit=100"), tmp_path / "run", callbacks=[CloseLate(0, fail)])

    real = stopping.describe_fault

    def late(_problem: OSError) -> tuple[str, str]:
        monkeypatch.setattr(stopping, "describe_fault", real)
        raise death

    monkeypatch.setattr(stopping, "describe_fault", late)
    with (
        pytest.raises(TrainingError, match=text),
        stopping.explaining_stops(RunFolder("nowhere"), 8, 1),
    ):
        raise OSError(5, "Input/output error")


def test_a_worker_that_hangs_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, run = on_files(tmp_path / "pets", "data.workers=1"), RunFolder(tmp_path / "run")
    gone, real = tmp_path / "gone", loader._Items._item

    def item(self: loader._Items, key: loader.Key) -> object:
        if gone.exists():  # as is a network drive
            time.sleep(1000)
        return real(self, key)

    monkeypatch.setattr(loader, "TIMEOUT", 1)
    monkeypatch.setattr(loader._Items, "_item", item)
    with pytest.raises(TrainingError, match="does not answer; .*step-") as caught:
        train_run(config, run.path, callbacks=[CallAt(3, lambda _trainer: gone.touch())])
    assert "Check the disk or the network drive. Go on by resume=True." in str(caught.value)
    gone.unlink()
    train_run(config, run.path, resume=True)
    assert run.evaluation
