"""The log of a run: a progress bar, lines on the console, timing.jsonl, and all its writers."""

import json
import time
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

from vitrail.messages import _
from vitrail.run_folder import RunFolder
from vitrail.train.callback import Callback, Values
from vitrail.train.console import QUIET_SECONDS
from vitrail.train.trainer import Trainer
from vitrail.train.writers.base import Settings, Writers
from vitrail.train.writers.files import open_whole


class RunLog(Callback):
    """Logs a run with its writers, and says on the console how far it is.

    What depends on the clock goes to timing.jsonl. Of several processes only the main one logs.

    Args:
        run: folder of the run.
        writers: what the run is recorded with; the log opens and closes them.
        every: number of steps between lines of training, which also end each epoch; None for 50,
            or for fewer in a run of fewer than 2,500.
        settings: those of the run by dotted name, to be recorded; None for none.

    Example:
        >>> import tempfile
        >>> RunLog(RunFolder(tempfile.mkdtemp()), Writers([]), every=10).state()
        {}
    """

    def __init__(
        self,
        run: RunFolder,
        writers: Writers,
        every: int | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.run, self.writers, self.every, self.settings = run, writers, every, settings
        self.timing_file: IO[bytes] | None = None
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
        """trainer → open writers, which drop what they have of later steps."""
        if self.every is None:
            self.every = max(1, min(50, trainer.total // 50))
        if not trainer.is_main:
            return
        self.writers.open(trainer.step)
        if self.settings is not None:
            self.writers.settings(self.settings)
        self.timing_file = open_whole(self.run.timing_file)
        self.task = self.progress.add_task(
            _("training"), total=trainer.total, completed=trainer.step, note=""
        )
        self.start_step = self.logged_step = trainer.step
        self.start_time = self.line_time = time.monotonic()
        if self.console.is_terminal:
            self.progress.start()
        for remark in [*self.writers.remarks(), *trainer.remarks()]:
            self.tell(trainer, remark)

    def close(self, trainer: Trainer) -> None:
        """trainer → closed files."""
        self.progress.stop()
        del trainer
        if self.timing_file is not None:
            self.timing_file.close()
            self.timing_file = None
            self.writers.close()

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
        """trainer, split, values → recorded, and on the terminal."""
        if not trainer.is_main:
            return
        if self.timing_file is None:  # figures of the trained weights come after the end
            self.writers.open(trainer.step)
            self.writers.scalars(trainer.step, split, values)
            self.writers.close()
            return
        self.writers.scalars(trainer.step, split, values)
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
        """trainer, line → the line on the terminal, and recorded."""
        if self.timing_file is not None:
            self.writers.text(trainer.step, "note", line)
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def log_image(self, trainer: Trainer, kind: str, pixels: np.ndarray) -> None:
        """trainer, kind, pixels uint8 (H, W, 3) → recorded."""
        if trainer.is_main:
            self.writers.image(trainer.step, kind, pixels)

    def state(self) -> dict[str, Any]:
        """What the writers have on disk by then. What they record later is written anew."""
        return self.writers.state()

    def load_state(self, state: dict[str, Any]) -> None:
        """state → the writers as they were."""
        self.writers.load_state(state)

    def _report_speed(self, trainer: Trainer, values: dict[str, float]) -> None:
        """Writes how fast it goes, and shows it on the bar or in a line now and then."""
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
