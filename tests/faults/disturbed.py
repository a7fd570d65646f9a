"""A run of two processes with shared-out weights, disturbed by random events until its end.

A small launcher starts the processes and, when one of them ends before the run does, stops the
other and starts both anew, as `torchrun --max-restarts` does; it forks them, which spares a start
the imports. Nothing tells them to resume: they find that they were restarted. The run must end with
the bytes of one that nothing disturbed.

    python -m tests.faults.disturbed 200 --log docs/disturbed_run.txt

prints a line per event and the two sha256, and exits with 1 if they differ.
"""

import argparse
import contextlib
import dataclasses
import errno
import importlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.faults.harness import on_files
from tests.train.processes import forget_parent
from vitrail.errors import VitrailError
from vitrail.manifest import MANIFEST
from vitrail.run_folder import RunFolder
from vitrail.train.callback import Callback
from vitrail.train.factory import train_run
from vitrail.train.trainer import Trainer

KINDS = ("kill", "term", "bit flip", "full disk", "nan", "dead worker", "second writer")
PROCESSES, SAVE_EVERY, STEPS_PER_EPOCH = 2, 3, 4
FARTHEST = 9  # steps between the start of the processes and an event
LIMIT = 120.0  # seconds without a checkpoint, after which processes are taken to hang


@dataclasses.dataclass(frozen=True)
class Event:
    """What happens to one process before one of its steps."""

    kind: str
    rank: int
    after: int  # steps since the processes were started
    seed: int


class Disturb(Callback):
    """Makes an event happen."""

    def __init__(self, event: Event, rank: int) -> None:
        self.event, self.rank = event, rank
        self.first: int | None = None

    def before_step(self, trainer: Trainer) -> None:
        self.first = trainer.step if self.first is None else self.first
        if trainer.step == self.first + self.event.after and self.rank == self.event.rank:
            getattr(self, "_" + self.event.kind.replace(" ", "_"))(trainer)

    def _kill(self, _trainer: Trainer) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _term(self, _trainer: Trainer) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def _bit_flip(self, trainer: Trainer) -> None:
        """In any file of the newest checkpoint, if there is an older one; then a kill."""
        choose, checkpoints = random.Random(self.event.seed), trainer.run_folder.checkpoints
        if len(checkpoints) > 1:
            path = choose.choice(sorted(checkpoints[-1].iterdir()))
            content = bytearray(path.read_bytes())
            content[choose.randrange(len(content))] ^= 1 << choose.randrange(8)
            path.write_bytes(bytes(content))
        self._kill(trainer)

    def _full_disk(self, _trainer: Trainer) -> None:
        """From now on, for this process."""

        def refuse(*_arguments: object, **_keywords: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        os.fsync = refuse

    def _nan(self, trainer: Trainer) -> None:
        """In the weights of this process's share."""
        parameter: Any = trainer.method.backbone.head.weight
        with torch.no_grad():
            parameter.to_local().fill_(torch.nan)

    def _dead_worker(self, _trainer: Trainer) -> None:
        """A process that reads samples."""
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)

    def _second_writer(self, trainer: Trainer) -> None:
        """Another process that trains into the same folder is refused; then a SIGTERM."""
        settings = trainer.run_folder.settings_file
        program = "from vitrail.cli.main import main; main()"
        arguments = ["train", str(settings), "--out", str(trainer.run_folder), "--resume"]
        alone = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT}
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=alone
        )
        last = (done.stderr.splitlines() or [""])[-1]
        assert done.returncode == 2 and "is being trained by another process" in last, done.stderr
        self._term(trainer)


ENVIRONMENT = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")


def settings(data: Path, steps: int) -> Any:
    """A run that shares out its weights, on image files that workers read."""
    return on_files(
        data,
        "train.sharding=fsdp",
        "data.workers=1",
        f"train.save_every={SAVE_EVERY}",
        "data.augment={crop: padded, padding: 1, flip: 0.5}",
        f"schedule.epochs={-(-steps // STEPS_PER_EPOCH)}",
        "train.eval_every=10",
        "train.log_every=1",
    )


def work(rank: int, meet: Path, restarts: int, config: Any, run: Path, event: Event | None) -> None:
    """One of the processes, from its start to its end."""
    os.setpgid(0, 0)
    with open(run.with_suffix(".log"), "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    values = (rank, rank, PROCESSES, restarts)
    os.environ.update({n: str(v) for n, v in zip(ENVIRONMENT, values, strict=True)})
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="1")
    forget_parent()
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=PROCESSES)
    code = 0
    try:
        train_run(config, run, callbacks=[] if event is None else [Disturb(event, rank)])
    except VitrailError as problem:
        sys.stdout.write(f"[{rank}] error: {problem}\n")
        code = problem.exit_code
    finally:
        for child in multiprocessing.active_children():
            child.kill()
    sys.stdout.flush()
    os._exit(code)  # workers that were killed are not waited for


def attempt(config: Any, run: Path, restarts: int, event: Event | None) -> list[int]:
    """Starts the processes, and stops all when one has failed. Returns their exit codes."""
    context = multiprocessing.get_context("fork")
    meet = Path(tempfile.mkdtemp()) / "meet"
    processes = [
        context.Process(target=work, args=(rank, meet, restarts, config, run, event))
        for rank in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    deadline, newest = time.monotonic() + LIMIT, None
    while any(process.is_alive() for process in processes):
        if newest != (newest := max(RunFolder(run).checkpoints, default=None)):
            deadline = time.monotonic() + LIMIT
        failed = [p for p in processes if not p.is_alive() and p.exitcode]
        if failed or time.monotonic() > deadline:
            for process in processes:  # as torchrun: SIGTERM, and later SIGKILL
                if process.is_alive():
                    process.terminate()
                process.join(10)
                if process.is_alive():
                    process.kill()
        time.sleep(0.01)
    for process in processes:
        process.join()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # its workers
    return [process.exitcode or 0 for process in processes]


def digest(run: Path) -> str:
    """The sha256 of the trained model, by its manifest."""
    manifest = json.loads((RunFolder(run).model_folder / MANIFEST).read_text())
    return str(manifest["sha256"]["model.safetensors"])


def events(count: int, seed: int = 0) -> Iterator[Event]:
    """Random events, of which each kind comes equally often."""
    choose = random.Random(seed)
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    choose.shuffle(kinds)
    for kind in kinds:
        yield Event(
            kind, choose.randrange(PROCESSES), choose.randint(1, FARTHEST), choose.getrandbits(32)
        )


def disturb(
    folder: Path, count: int, seed: int = 0, seconds: float = float("inf")
) -> dict[str, Any]:
    """Trains a run undisturbed and one that is disturbed, and compares them.

    Args:
        folder: for both, and for the images.
        count: number of events.
        seed: of the events.
        seconds: after which no more events happen.

    Returns:
        "events" by kind, "restarts", "sha256" of both, "steps", and "log", a line per event.
    """
    importlib.import_module("tests.faults.warm")
    start, counts, log = time.monotonic(), Counter[str](), list[str]()
    config = settings(folder / "pets", 4 * count)
    whole, run = folder / "whole", folder / "run"
    assert attempt(config, whole, 0, None) == [0, 0], whole.with_suffix(".log").read_text()
    restarts, last = 0, 0
    for number, event in enumerate(events(count, seed), 1):
        if time.monotonic() - start > seconds:
            break
        codes = attempt(config, run, restarts, event)
        checkpoints = [int(path.name[5:]) for path in RunFolder(run).checkpoints]
        last = checkpoints[-1] if checkpoints else 0
        counts[event.kind] += 1
        log.append(
            f"{number:4d} {event.kind:13} process {event.rank}, {event.after} steps after its "
            f"start: exit codes {codes}, newest checkpoint {last}"
        )
        sys.stdout.write(log[-1] + "\n")
        sys.stdout.flush()
        if codes == [0, 0]:
            break
        restarts += 1
    while not (RunFolder(run).model_folder / MANIFEST).exists():
        codes = attempt(config, run, restarts, None)
        restarts += 1
        assert codes == [0, 0], run.with_suffix(".log").read_text()[-3000:]
    digests, steps = [digest(path) for path in (whole, run)], RunFolder(run).metrics[-1]["step"]
    return {
        "events": dict(counts), "restarts": restarts, "sha256": digests, "log": log, "steps": steps
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for events, at most")
    parser.add_argument("--log", type=Path, help="file for what is printed")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    result = disturb(folder, options.count, options.seed, options.seconds)
    same = len(set(result["sha256"])) == 1
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(result["events"].items()))
    lines = [
        f"{sum(result['events'].values())} events ({kinds}), {result['restarts']} restarts of "
        f"{PROCESSES} processes, {result['steps']} steps",
        f"undisturbed {result['sha256'][0]}",
        f"disturbed   {result['sha256'][1]}: {'the same' if same else 'ANOTHER'}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.log is not None:
        options.log.write_text("\n".join([*lines, "", *result["log"]]) + "\n")
    sys.exit(not same)


if __name__ == "__main__":
    main()
