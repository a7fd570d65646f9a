"""What a run says of itself: a progress bar, metrics.jsonl, timing.jsonl, TensorBoard, W&B."""

import contextlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from vitrail.files import atomic_write

QUIET_SECONDS = 10  # between lines where there is no terminal to draw a bar on


class Monitor:
    """Writes down what happens. metrics.jsonl holds only what a rerun would repeat to the byte;
    whatever depends on the clock goes to timing.jsonl."""

    def __init__(
        self,
        run: Path,
        total: int,
        *,
        step: int = 0,
        metrics_bytes: int = 0,
        wandb: bool = False,
        quiet: bool = False,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run = run
        self.metrics_file = _open(run / "metrics.jsonl", metrics_bytes)
        self.timing_file = open(  # noqa: SIM115, closed by __exit__
            run / "timing.jsonl", "a", encoding="utf-8"
        )
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)
        self.wandb = _wandb(run) if wandb else None
        self.console = Console(stderr=True, quiet=quiet)
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        self.progress = Progress(*columns, console=self.console, transient=False)
        self.task = self.progress.add_task("train", total=total, completed=step, note="")
        self.total, self.start_step, self.start = total, step, time.monotonic()
        self.last_line = self.last_mark = self.start

    def __enter__(self) -> "Monitor":
        if self.console.is_terminal and not self.console.quiet:
            self.progress.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.progress.stop()
        self.metrics_file.close()
        self.timing_file.close()
        self.board.close()
        if self.wandb is not None:
            self.wandb.finish()

    def tick(self, step: int, epoch: float) -> None:
        """A step is done."""
        self.progress.update(self.task, completed=step, description=f"epoch {int(epoch) + 1}")

    def train(self, step: int, values: dict[str, float], images: int) -> None:
        """Logs a training step; `images` were seen since the last."""
        self._write({"step": step, "split": "train", **values})
        now = time.monotonic()
        rate = images / max(now - self.last_mark, 1e-9)
        self.last_mark = now
        timing = {"step": step, "seconds": round(now - self.start, 3)}
        self.timing_file.write(json.dumps({**timing, "images_per_second": round(rate, 1)}) + "\n")
        self.timing_file.flush()
        note = f"loss {values['loss']:.3f}  lr {values['lr']:.1e}  {rate:,.0f} img/s"
        self.progress.update(self.task, note=note)
        if not self.console.is_terminal and now - self.last_line >= QUIET_SECONDS:
            self.last_line = now
            done = step - self.start_step
            left = (now - self.start) / max(done, 1) * (self.total - step)
            clock = f"{int(left) // 60}:{int(left) % 60:02d} left"
            self.console.print(f"step {step}/{self.total}  {note}  {clock}", highlight=False)

    def evaluated(self, step: int, values: dict[str, float]) -> None:
        """Logs an evaluation."""
        self._write({"step": step, "split": "val", **values})
        shown = "  ".join(f"{k} {v:.4f}" for k, v in values.items() if k != "epoch")
        self.console.print(f"step {step}: validation {shown}", highlight=False)

    def pictures(self, step: int, drawn: dict[str, np.ndarray]) -> None:
        """Keeps pictures, uint8 (H, W, 3) by name, on the board and as pictures/NAME-STEP.png."""
        from PIL import Image

        for name, pixels in drawn.items():
            self.board.add_image(name, pixels, step, dataformats="HWC")
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, format="png")
            atomic_write(self.run / "pictures" / f"{name}-{step:08d}.png", buffer.getvalue())

    def aside(self, task: Callable[[], Any]) -> Any:
        """Runs something that is no training, and keeps it out of images per second."""
        begin = time.monotonic()
        try:
            return task()
        finally:
            self.last_mark += time.monotonic() - begin

    def sync(self) -> int:
        """Puts metrics.jsonl on disk → its length in bytes."""
        self.metrics_file.flush()
        os.fsync(self.metrics_file.fileno())
        return self.metrics_file.tell()

    def _write(self, values: dict[str, Any]) -> None:
        self.metrics_file.write((json.dumps(values) + "\n").encode())
        self.metrics_file.flush()
        split, step = values["split"], values["step"]
        scalars = {f"{split}/{k}": v for k, v in values.items() if k not in ("split", "step")}
        for name, value in scalars.items():
            self.board.add_scalar(name, value, step)
        if self.wandb is not None:
            self.wandb.log(scalars, step=step)


@contextlib.contextmanager
def bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that appears when its work is first heard of: call it with (done, total)."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as drawn:
        task = drawn.add_task(description, total=None, visible=False)
        yield lambda done, total: drawn.update(task, completed=done, total=total, visible=True)


def note(line: str) -> None:
    """A line to whoever is watching."""
    Console(stderr=True, soft_wrap=True).print(line, highlight=False, markup=False)


def _open(path: Path, length: int) -> Any:
    """Opens metrics.jsonl at `length`: lines written after the checkpoint are written anew."""
    file = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115, the caller closes it
    file.truncate(length)
    file.seek(length)
    return file


def _wandb(run: Path) -> Any:
    import wandb

    return wandb.init(project="vitrail", name=run.name, dir=str(run), mode="offline")
