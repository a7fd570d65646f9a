"""`vitrail` in processes that are forked from one that has imported everything: no start-up time.

They are whole processes, to be killed and signalled, and they run the command line's own `main`.
"""

import contextlib
import hashlib
import multiprocessing
import multiprocessing.context
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from vitrail.files import TEMPORARY
from vitrail.run_folder import RunFolder

# Of a finished run: what depends on the clock or on the command.
OF_THE_CLOCK = {"timing.jsonl", "report.html", "command.txt", "summary.json", ".lock"}


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.warm"])
    return context


def _command(arguments: Sequence[str], log: str, environment: Mapping[str, str]) -> None:
    from vitrail.cli.main import main
    from vitrail.lens import report_page

    report_page.write_report = lambda _run: None  # takes longer than all else, and is not compared
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job ignores
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup lets all that it starts ignore
    multiprocessing.set_start_method("fork", force=True)  # as in a process of its own
    os.environ.update(environment)
    with open(log, "ab", buffering=0) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = ["vitrail", *arguments]
    main()


def launch(log: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> BaseProcess:
    """Starts `vitrail` in a process group of its own, which appends its output to a file."""
    environment = {"OMP_NUM_THREADS": "1", **(environment or {})}
    process = _context().Process(target=_command, args=(arguments, str(log), environment))
    process.start()
    return process


def train(recipe: Path, run: Path, *more: str, processes: int = 1) -> list[BaseProcess]:
    """Starts `vitrail train` in one process, or in several that train as one."""
    ranks: list[dict[str, str]] = [{}]
    if processes > 1:
        size, port = str(processes), str(_free_port())
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": size}
        ranks = [
            {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": size}
            for rank in range(processes)
        ]
    command = ("train", str(recipe), "--out", str(run), *more)
    return [launch(run.with_suffix(".log"), *command, environment=rank) for rank in ranks]


def finish(processes: Sequence[BaseProcess], seconds: float = 300) -> list[int | None]:
    """The exit codes of processes; those that do not end in time are killed, and have none."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    codes = [process.exitcode for process in processes]
    kill(processes)
    return codes


def kill(processes: Sequence[BaseProcess]) -> None:
    """kill -9."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def wait_for_steps(processes: Sequence[BaseProcess], run: Path) -> None:
    """Waits until a run has made its first steps."""
    file = run / "metrics.jsonl"
    while not (file.exists() and file.stat().st_size):
        assert all(p.is_alive() for p in processes), run.with_suffix(".log").read_text()
        time.sleep(0.001)


def saving(run: Path) -> bool:
    """Whether a checkpoint is being written at this moment."""
    with contextlib.suppress(OSError), os.scandir(run / "checkpoints") as entries:
        return any(TEMPORARY in entry.name for entry in entries)
    return False


def digest(run: Path) -> dict[str, str]:
    """sha256 of every file of a finished run, but for those that tell of the clock."""
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in OF_THE_CLOCK and "tensorboard" not in path.parts
    }


def steps_done(run: Path) -> int:
    """The step of the last line of training."""
    return max((line["step"] for line in RunFolder(run).metrics), default=0)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
