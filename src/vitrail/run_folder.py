"""The folder of a training run: where each file is, and how it is read and written."""

import contextlib
import datetime
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vitrail.errors import ConfigError, TrainingError
from vitrail.files import atomic_write, check_writable, make_folder, to_json
from vitrail.foreign import MAX_SETTINGS, parse_yaml, read_text
from vitrail.run_files import (
    EVALUATION,
    EXPLANATIONS,
    LOCK,
    METRICS,
    MONITOR,
    NOTE,
    SUMMARY,
    TIMING,
    WRITTEN,
    read_lines,
    read_object,
    read_pictures,
)


class RunFolder:
    """A run's folder. Reading what is not there gives an empty value, so that a run that stopped
    early can be read too.

    Args:
        path: the folder; it need not exist.

    Example:
        >>> import tempfile
        >>> run = RunFolder(tempfile.mkdtemp())
        >>> run.write_command("vitrail train digits")
        >>> run.command, run.evaluation, run.exists
        ('vitrail train digits', {}, False)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def settings_file(self) -> Path:
        """The exact settings, YAML."""
        return self.path / "run.yaml"

    @property
    def command_file(self) -> Path:
        """The command that started the run."""
        return self.path / "command.txt"

    @property
    def bad_images_file(self) -> Path:
        """Images that were left out: a name, a tab and the reason in each line."""
        return self.path / "bad_images.txt"

    @property
    def metrics_file(self) -> Path:
        """Losses and accuracies, JSON lines. A rerun repeats them to the byte."""
        return self.path / "metrics.jsonl"

    @property
    def monitor_file(self) -> Path:
        """What the monitor measured, and its warnings, JSON lines. A rerun repeats them, too."""
        return self.path / "monitor.jsonl"

    @property
    def timing_file(self) -> Path:
        """Seconds and images per second, JSON lines."""
        return self.path / "timing.jsonl"

    @property
    def evaluation_file(self) -> Path:
        """The final evaluation, JSON."""
        return self.path / "evaluation.json"

    @property
    def classes_file(self) -> Path:
        """How well each class is recognized, a row per class."""
        return self.path / "classes.csv"

    @property
    def examples_file(self) -> Path:
        """The images that the evaluation refers to by their index, safetensors."""
        return self.path / "evaluation.safetensors"

    @property
    def explanations_file(self) -> Path:
        """How far explanations of its model can be believed, JSON, by `vitrail explain compare`."""
        return self.path / "explanations.json"

    @property
    def images_folder(self) -> Path:
        """Images that were drawn while the method learned, NAME-STEP.png."""
        return self.path / "images"

    @property
    def model_folder(self) -> Path:
        """The trained backbone."""
        return self.path / "model"

    @property
    def initial_folder(self) -> Path:
        """The backbone that training started from, where it was an object in Python."""
        return self.path / "initial"

    @property
    def method_folder(self) -> Path:
        """What the method trained beside the backbone."""
        return self.path / "method"

    @property
    def checkpoints_folder(self) -> Path:
        """Checkpoints to resume from."""
        return self.path / "checkpoints"

    @property
    def tensorboard_folder(self) -> Path:
        """TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def mlflow_folder(self) -> Path:
        """MLflow's store, if the run was logged there."""
        return self.path / "mlflow"

    @property
    def report_file(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def notes_file(self) -> Path:
        """Remarks of the user, JSON lines."""
        return self.path / "notes.jsonl"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        files = (self.settings_file, self.metrics_file, self.evaluation_file)
        return any(file.is_file() for file in files)

    @property
    def is_foreign(self) -> bool:
        """Whether the folder holds files but no run, so that nothing may be written into it."""
        if not self.path.is_dir() or self.exists:
            return False
        return any(file.name != LOCK for file in self.path.iterdir())

    @property
    def is_unborn(self) -> bool:
        """Whether a run began here and stopped before it left a checkpoint or a result."""
        results = (*self.checkpoints, self.evaluation_file, self.model_folder)
        return self.settings_file.is_file() and not any(map(Path.exists, results))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as nested dictionaries.

        Returns:
            The settings; empty where there is no file.

        Raises:
            ConfigError: the file cannot be read, or holds no settings.
        """
        if not self.settings_file.is_file():
            return {}
        text = read_text(self.settings_file, ConfigError, MAX_SETTINGS)
        settings = parse_yaml(text, str(self.settings_file), ConfigError) or {}
        if not isinstance(settings, dict):
            raise ConfigError(f"{self.settings_file} holds no settings of a run.")
        return settings

    @property
    def command(self) -> str:
        """The command that started the run."""
        file = self.command_file
        return file.read_text("utf-8", "surrogateescape").strip() if file.is_file() else ""

    @property
    def bad_images(self) -> list[tuple[str, str]]:
        """(name, reason) of each image that was left out."""
        if not self.bad_images_file.is_file():
            return []
        lines = self.bad_images_file.read_text("utf-8", "surrogateescape").splitlines()
        return [(line.rpartition("\t")[0], line.rpartition("\t")[2]) for line in lines]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of the metrics, each with step, split ("train" or "val") and values."""
        return read_lines(self.metrics_file, METRICS)

    @property
    def health(self) -> list[dict[str, Any]]:
        """The lines of the monitor: each has a step, and measures (of heads too) or a warning."""
        return read_lines(self.monitor_file, MONITOR)

    @property
    def timing(self) -> list[dict[str, Any]]:
        """The lines of the timing, each with step, seconds and images_per_second."""
        return read_lines(self.timing_file, TIMING)

    @property
    def evaluation(self) -> dict[str, Any]:
        """The final evaluation."""
        return read_object(self.evaluation_file, EVALUATION)

    @property
    def explanations(self) -> tuple[list[dict[str, Any]], int, str] | None:
        """The comparison of explanations: its rows, the number of images, and their split."""
        if not (comparison := read_object(self.explanations_file, EXPLANATIONS)):
            return None
        return comparison["explanations"], comparison["images"], comparison["split"]

    @property
    def example_images(self) -> Tensor | None:
        """uint8 (N, C, *size), the images that the evaluation refers to."""
        return read_pictures(self.examples_file)

    @property
    def logged_images(self) -> dict[str, list[tuple[int, Path]]]:
        """(step, file) of the images drawn during training, oldest first, by their kind."""
        kinds: dict[str, list[tuple[int, Path]]] = {}
        for file in sorted(self.images_folder.glob("*-*.png")):
            kind, _, step = file.stem.rpartition("-")
            kinds.setdefault(kind, []).append((int(step), file))
        return kinds

    @property
    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first. A folder gets its name only when it is whole."""
        folders = self.checkpoints_folder.glob("step-*")
        return sorted(folder for folder in folders if folder.name[5:].isdigit())

    @property
    def summary_file(self) -> Path:
        """What is trained on what, JSON."""
        return self.path / "summary.json"

    @property
    def summary(self) -> dict[str, Any]:
        """What is trained on what."""
        return read_object(self.summary_file, SUMMARY)

    @property
    def best_folder(self) -> Path:
        """The weights of the best evaluation, the method's state_dict."""
        return self.path / "best"

    def best_weights(self, step: int) -> Path:
        """Where weights belong that were the best so far.

        Args:
            step: number of steps done.

        Returns:
            A folder, which need not exist.
        """
        return self.best_folder / f"step-{step:08d}"

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of a step belongs.

        Args:
            step: number of steps done.

        Returns:
            A folder, which need not exist.
        """
        return self.checkpoints_folder / f"step-{step:08d}"

    def logged_image(self, kind: str, step: int) -> Path:
        """Where an image drawn during training belongs.

        Args:
            kind: what it shows, such as "reconstruction".
            step: number of steps done.

        Returns:
            A PNG file, which need not exist.
        """
        return self.images_folder / f"{kind}-{step:08d}.png"

    def check_ours(self) -> None:
        """Checks that a new run may be written here.

        Raises:
            ConfigError: the folder holds files of something else, or nothing may be written there.
        """
        check_writable(self.path)
        if self.is_foreign:
            raise ConfigError(
                f"{self.path} holds files that are no run's: choose another folder, or empty it."
            )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """A context in which no other process trains here; the folder is made if need be.

        Raises:
            TrainingError: another process does.
        """
        from filelock import FileLock, Timeout  # of torch

        make_folder(self.path)
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise TrainingError(
                f"{self} is being trained by another process: wait for its end, or choose another "
                "folder by out=FOLDER."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def clear(self) -> None:
        """Deletes what runs write, and nothing else: files of other names stay where they are."""
        for file in [file for pattern in WRITTEN for file in self.path.glob(pattern)]:
            file.unlink()
            for folder in file.parents:
                if folder == self.path or any(folder.iterdir()):
                    break
                folder.rmdir()

    def write_settings(self, values: dict[str, Any]) -> None:
        """Writes the settings.

        Args:
            values: nested dictionaries of plain values.
        """
        import yaml

        atomic_write(self.settings_file, yaml.safe_dump(values, sort_keys=False))

    def write_summary(self, values: dict[str, Any]) -> None:
        """Writes what is trained on what.

        Args:
            values: nested dictionaries of plain values.
        """
        atomic_write(self.summary_file, to_json(values, indent=1))

    def write_command(self, command: str) -> None:
        """Writes the command that started the run.

        Args:
            command: one line of shell.
        """
        atomic_write(self.command_file, command + "\n")

    def write_bad_images(self, bad_images: Sequence[tuple[str, str]]) -> None:
        """Writes which images were left out.

        Args:
            bad_images: (name, reason) of each.
        """
        lines = "".join(f"{name}\t{reason}\n" for name, reason in bad_images)
        atomic_write(self.bad_images_file, lines)

    @property
    def notes(self) -> list[dict[str, str]]:
        """Remarks of the user, each with "date" and "text"."""
        return read_lines(self.notes_file, NOTE)

    def add_note(self, text: str) -> None:
        """Adds a remark.

        Args:
            text: the remark.
        """
        note = {"date": datetime.date.today().isoformat(), "text": text.strip()}
        lines = [to_json(line) for line in [*self.notes, note]]
        atomic_write(self.notes_file, "\n".join(lines) + "\n")

    def write_evaluation(self, evaluation: dict[str, Any], images: Tensor | None = None) -> None:
        """Writes the final evaluation.

        Args:
            evaluation: plain values for JSON.
            images: uint8 (N, C, *size) that the evaluation refers to by index, or None.
        """
        import safetensors.torch

        if images is not None:
            data = safetensors.torch.save({"images": images.contiguous()})
            atomic_write(self.examples_file, data)
        atomic_write(self.evaluation_file, json.dumps(evaluation, indent=1))
