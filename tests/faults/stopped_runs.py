"""Runs that are killed or signalled at random moments, beside the run that never was."""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import yaml

from tests.faults import forked
from tests.faults.harness import on_files
from tests.train.test_methods import METHODS
from tests.train.tiny import tiny
from vitrail.run_folder import RunFolder
from vitrail.train.config import RunConfig

SUPERVISED, DISTILL = "supervised", "distill"
FIVE = (SUPERVISED, "mae", "dino", "clip", DISTILL)
# 24 steps or so, with a save after every second one.
IN_MEMORY = ("data.limit=130", "data.batch_size=16", "schedule.epochs=4", "train.save_every=2")
ON_FILES = ("schedule.epochs=6", "data.workers=2", "train.knn_images=20")


class StoppedRuns:
    """A run, and copies of it that are stopped on their way and resumed.

    Args:
        folder: a folder to work in.
        method: name of the method.
        workers: 0 for digits in memory; 2 for image files, which so many processes read.
        processes: number of processes that train as one.
        seed: of the moments.
    """

    def __init__(
        self, folder: Path, method: str, *, workers: int, processes: int = 1, seed: int = 0
    ) -> None:
        self.folder, self.processes, self.choose = folder, processes, random.Random(seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.recipe, self.whole, self.count = folder / "recipe.yaml", folder / "whole", 0
        self.recipe.write_text(yaml.safe_dump(self._settings(method, workers).plain()))
        started = forked.train(self.recipe, self.whole, processes=processes)
        forked.wait_for_steps(started, self.whole)  # the first run waits for the imports
        start = time.monotonic()
        assert forked.finish(started) == [0] * processes, self.log(self.whole)
        self.seconds = time.monotonic() - start
        self.expected = forked.digest(self.whole)

    def _settings(self, method: str, workers: int) -> RunConfig:
        more = METHODS.get(method, ())
        if method == DISTILL:
            teacher, recipe = self.folder / "teacher", self.folder / "teacher.yaml"
            recipe.write_text(yaml.safe_dump(self._settings(SUPERVISED, workers).plain()))
            assert forked.finish(forked.train(recipe, teacher)) == [0], self.log(teacher)
            more = (f"method={{name: distill, teacher: {teacher}}}",)
        if workers:
            return on_files(self.folder / "pets", *more, *ON_FILES)
        return tiny(*more, *IN_MEMORY)

    def log(self, run: Path) -> str:
        """What a run has printed."""
        return run.with_suffix(".log").read_text("utf-8", "replace")

    def killed(self, *, in_a_save: bool) -> dict[str, int]:
        """One run, killed once → whether in a save, and whether it then ends with equal bytes."""
        while True:
            run, processes = self._started()
            while in_a_save and processes[0].is_alive() and not forked.saving(run):
                time.sleep(0.0005)  # the run needs the processor
            forked.kill(processes)
            if not all(process.exitcode == -signal.SIGKILL for process in processes):
                self.seconds *= 0.7  # it had ended before: the machine is less busy now
            else:
                return {"in_a_save": forked.saving(run), "equal": self._resumed(run)}

    def signalled(self, number: signal.Signals) -> dict[str, int]:
        """One run, stopped by a signal to all its processes → what of it was right."""
        while True:
            run, processes = self._started()
            for process in processes:
                if process.is_alive() and process.pid is not None:
                    os.killpg(process.pid, number)
            codes = forked.finish(processes)
            if codes == [0] * self.processes:  # it had ended before
                self.seconds *= 0.7
                continue
            checkpoints = RunFolder(run).checkpoints
            saved = int(checkpoints[-1].name[5:]) if checkpoints else 0
            return {
                "code_143": codes == [143] * self.processes,
                "no_step_lost": saved >= forked.steps_done(run) > 0,
                "no_traceback": "Traceback" not in self.log(run),
                "equal": self._resumed(run, newest_only=True),
            }

    def _started(self) -> tuple[Path, list[forked.BaseProcess]]:
        """A run at a random moment between its first step and its end."""
        self.count += 1
        run = self.folder / f"run{self.count}"
        processes = forked.train(self.recipe, run, processes=self.processes)
        forked.wait_for_steps(processes, run)
        time.sleep(self.choose.uniform(0, 0.5 * self.seconds))
        return run, processes

    def _end(self, run: Path, *more: str) -> list[int | None]:
        return forked.finish(forked.train(self.recipe, run, *more, processes=self.processes))

    def _resumed(self, run: Path, *, newest_only: bool = False) -> bool:
        """Whether the run, resumed to its end, has the bytes of the whole one.

        A signal saves whichever step it meets, which may be the last checkpoint but one of the run:
        then only the newest checkpoint is compared.
        """
        codes = self._end(run, "--resume")
        digest, expected = forked.digest(run), self.expected
        if newest_only:
            older = tuple(f"checkpoints/{path.name}" for path in self._older(run))
            digest, expected = (
                {name: value for name, value in files.items() if not name.startswith(older)}
                for files in (digest, expected)
            )
        if codes == [0] * self.processes and digest == expected:
            shutil.rmtree(run)
            return True
        keys = digest.keys() | expected.keys()
        differing = [key for key in sorted(keys) if digest.get(key) != expected.get(key)]
        sys.stdout.write(f"{run}: {codes}, {differing}\n{self.log(run)[-2000:]}\n")
        return False

    def _older(self, run: Path) -> list[Path]:
        """The checkpoints of the run and of the whole one, but for the newest of each."""
        folders = (RunFolder(run), RunFolder(self.whole))
        return [path for folder in folders for path in folder.checkpoints[:-1]]
