"""The log of a run: a progress bar, metrics.jsonl, timing.jsonl, TensorBoard, W&B."""

import contextlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from vitrail.errors import printable
from vitrail.files import atomic_write, sync
from vitrail.messages import _
from vitrail.run_folder import RunFolder
from vitrail.train.callback import Callback, Values
from vitrail.train.trainer import Trainer

QUIET_SECONDS = 10  # between lines where there is no terminal to draw a bar on


class Monitor(Callback):
    """Logs a run. metrics.jsonl holds only what a rerun would repeat to the byte; what depends on
    the clock goes to timing.jsonl. Of several processes only the main one logs.

    Args:
        run: folder of the run.
        every: number of steps between lines of training, which also end each epoch; None for 50,
            or for fewer in a run of fewer than 2,500.
        wandb: whether to log to Weights & Biases too, offline.

    Example:
        >>> import tempfile
        >>> Monitor(RunFolder(tempfile.mkdtemp()), every=10).state()
        {'metrics_bytes': 0}
    """

    def __init__(self, run: RunFolder, every: int | None = None, *, wandb: bool = False) -> None:
        self.run, self.every, self.use_wandb = run, every, wandb
        self.metrics_bytes = 0  # length of metrics.jsonl at the last checkpoint
        self.metrics_file: IO[bytes] | None = None
        self.timing_file: IO[bytes] | None = None
        self.board: Any = None
        self.wandb: Any = None
        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=self.console,
            transient=False,
        )
        self.start_step, self.logged_step = 0, 0
        self.start_time = self.line_time = self.step_time = 0.0
        self.step_seconds = 0.0  # spent in steps since the last line

    def start(self, trainer: Trainer) -> None:
        """trainer → open files, at the length that they had at the checkpoint."""
        if self.every is None:
            self.every = max(1, min(50, trainer.total // 50))
        if not trainer.is_main:
            return
        from torch.utils.tensorboard import SummaryWriter

        self.run.path.mkdir(parents=True, exist_ok=True)
        self.metrics_file = _open_whole(self.run.metrics_file, self.metrics_bytes)
        if self.metrics_file.tell() < self.metrics_bytes:
            self.tell(trainer, _("metrics.jsonl lacks lines that it had at the checkpoint."))
        self.timing_file = _open_whole(self.run.timing_file)
        sync(self.run.path)
        self.board = SummaryWriter(str(self.run.tensorboard_folder), purge_step=trainer.step + 1)
        self.wandb = _open_wandb(self.run.path) if self.use_wandb else None
        self.task = self.progress.add_task(
            _("training"), total=trainer.total, completed=trainer.step, note=""
        )
        self.start_step = self.logged_step = trainer.step
        self.start_time = self.line_time = time.monotonic()
        if self.console.is_terminal:
            self.progress.start()
        for remark in trainer.remarks():
            self.console.print(remark, highlight=False, markup=False)

    def close(self, trainer: Trainer) -> None:
        """trainer → closed files."""
        del trainer
        self.progress.stop()
        for file in (self.metrics_file, self.timing_file, self.board):
            if file is not None:
                file.close()
        if self.wandb is not None:
            self.wandb.finish()

    def before_step(self, trainer: Trainer) -> None:
        """trainer → the time at which its step begins."""
        del trainer
        self.step_time = time.monotonic()

    def after_step(self, trainer: Trainer, values: Values) -> None:
        """trainer, values → a line of training every so many steps."""
        self.step_seconds += time.monotonic() - self.step_time
        if trainer.is_main:
            epoch = _("epoch {number}").format(number=int(trainer.epochs_done) + 1)
            self.progress.update(self.task, completed=trainer.step, description=epoch)
        ends = trainer.step == trainer.total or trainer.step % trainer.epoch_steps == 0
        if not ends and (self.every is None or trainer.step % self.every):
            return
        trainer.check_finite()
        floats = {name: float(value) for name, value in values.items()}
        trainer.log("train", {"epoch": round(trainer.epochs_done, 4), **floats})

    def log(self, trainer: Trainer, split: str, values: dict[str, float]) -> None:
        """trainer, split, values → lines in the files, on the board and on the terminal."""
        if not trainer.is_main:
            return
        self._write(trainer.step, split, values)
        if split == "train":
            self._report_speed(trainer, values)
        elif split == "val":
            figures = "  ".join(f"{k} {v:.4f}" for k, v in values.items() if k != "epoch")
            line = _("epoch {epoch:g}, step {step}/{total}: validation {figures}").format(
                epoch=round(trainer.epochs_done, 2),
                step=trainer.step,
                total=trainer.total,
                figures=figures,
            )
            self.console.print(line, highlight=False, markup=False)

    def tell(self, trainer: Trainer, line: str) -> None:
        """trainer, line → the line on the terminal."""
        del trainer
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def log_image(self, trainer: Trainer, kind: str, pixels: np.ndarray) -> None:
        """trainer, kind, pixels uint8 (H, W, 3) → a PNG, and an image on the board."""
        if not trainer.is_main:
            return
        from PIL import Image

        self.board.add_image(kind, pixels, trainer.step, dataformats="HWC")
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="png")
        atomic_write(self.run.logged_image(kind, trainer.step), buffer.getvalue())

    def state(self) -> dict[str, Any]:
        """The length of metrics.jsonl, which is on disk by then. Later lines are written anew."""
        if self.metrics_file is not None:
            self.metrics_file.flush()
            os.fsync(self.metrics_file.fileno())
            self.metrics_bytes = self.metrics_file.tell()
        return {"metrics_bytes": self.metrics_bytes}

    def load_state(self, state: dict[str, Any]) -> None:
        """state → the length that metrics.jsonl had; if it is open, that is its length again."""
        self.metrics_bytes = state.get("metrics_bytes", 0)
        if self.metrics_file is not None:
            self.metrics_file.close()
            self.metrics_file = _open_whole(self.run.metrics_file, self.metrics_bytes)

    def _report_speed(self, trainer: Trainer, values: dict[str, float]) -> None:
        now, steps = time.monotonic(), trainer.step - self.logged_step
        images = steps * trainer.accumulate * trainer.stream.batch_size
        rate = images / max(self.step_seconds, 1e-9)
        self.logged_step, self.step_seconds = trainer.step, 0.0
        timing = {
            "step": trainer.step,
            "seconds": round(now - self.start_time, 3),
            "images_per_second": round(rate, 1),
        }
        assert self.timing_file is not None
        self.timing_file.write((json.dumps(timing) + "\n").encode())
        self.timing_file.flush()
        note = f"loss {values['loss']:.3f}  lr {values['lr']:.1e}  {rate:,.0f} img/s"
        self.progress.update(self.task, note=note)
        if not self.console.is_terminal and now - self.line_time >= QUIET_SECONDS:
            self.line_time = now
            steps = max(trainer.step - self.start_step, 1)
            seconds = int((now - self.start_time) / steps * (trainer.total - trainer.step))
            clock = f"{seconds // 60}:{seconds % 60:02d}"
            line = _("step {step}/{total}  {note}  {clock} remaining").format(
                step=trainer.step, total=trainer.total, note=note, clock=clock
            )
            self.console.print(line, highlight=False, markup=False)

    def _write(self, step: int, split: str, values: dict[str, float]) -> None:
        assert self.metrics_file is not None
        line = {"step": step, "split": split, **values}
        self.metrics_file.write((json.dumps(line) + "\n").encode())
        self.metrics_file.flush()
        scalars = {f"{split}/{name}": value for name, value in values.items()}
        for name, value in scalars.items():
            self.board.add_scalar(name, value, step)
        if self.wandb is not None:
            self.wandb.log(scalars, step=step)


def log_result(run: RunFolder, step: int, split: str, values: dict[str, float]) -> None:
    """Adds the figures of the trained weights to the metrics of a run and to TensorBoard.

    Args:
        run: folder of a run that has trained.
        step: number of steps done.
        split: "test".
        values: figures by name.

    Example:
        >>> import tempfile
        >>> run = RunFolder(tempfile.mkdtemp())
        >>> log_result(run, 10, "test", {"top1": 0.5})
        >>> run.metrics
        [{'step': 10, 'split': 'test', 'top1': 0.5}]
    """
    from torch.utils.tensorboard import SummaryWriter

    with open(run.metrics_file, "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "split": split, **values}) + "\n")
    with SummaryWriter(str(run.tensorboard_folder)) as board:
        for name, value in values.items():
            board.add_scalar(f"{split}/{name}", value, step)


@contextlib.contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that appears when it is first called; without a terminal, a line now and then.

    Args:
        description: its title.

    Yields:
        A function to call with (done, total).

    Example:
        >>> with progress_bar("reading images") as progress:
        ...     progress(1, 2)
    """
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(description, total=None, visible=False)
        if console.is_terminal:
            yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)
        else:
            yield _progress_lines(description)


def _progress_lines(description: str) -> Callable[[int, int], None]:
    """What prints how far something is, every `QUIET_SECONDS`."""
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= QUIET_SECONDS:
            last = time.monotonic()
            note(f"{description}: {done:,} / {total:,}")

    return report


def note(line: str) -> None:
    """Prints a line for the user on the standard error stream.

    Args:
        line: the text.

    Example:
        >>> note("400 images")
    """
    console = Console(stderr=True, soft_wrap=True)
    console.print(printable(line), highlight=False, markup=False)


def _open_whole(path: Path, length: int | None = None) -> IO[bytes]:
    """Opens a file at the end of its last whole line, which is not after `length`."""
    file = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115, `close` closes it
    content = file.read(length)
    file.seek(content.rfind(b"\n") + 1)
    file.truncate()
    return file


def _open_wandb(run: Path) -> Any:
    import wandb

    return wandb.init(project="vitrail", name=run.name, dir=str(run), mode="offline")
