"""The files of a run's folder: metrics.jsonl, monitor.jsonl and images."""

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from vitrail.files import atomic_write, sync
from vitrail.lens.health import HealthWarning, Measures, warning_text
from vitrail.messages import _
from vitrail.run_folder import RunFolder
from vitrail.train.writers.base import Writer


class FileWriter(Writer):
    """Writes lines of JSON, which a rerun would repeat to the byte, and PNG images.

    Args:
        run: folder of the run.

    Example:
        >>> import tempfile
        >>> run = RunFolder(tempfile.mkdtemp())
        >>> writer = FileWriter(run)
        >>> writer.open(0)
        >>> writer.scalars(10, "train", {"loss": 0.5})
        >>> writer.close()
        >>> run.metrics
        [{'step': 10, 'split': 'train', 'loss': 0.5}]
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        # Bytes of each file at the last checkpoint; None where all of it counts.
        self.lengths: dict[str, int | None] = {"metrics": 0, "monitor": 0}
        self.files: dict[str, IO[bytes]] = {}
        self.is_short = False  # whether metrics.jsonl lacks lines that it had at the checkpoint

    def open(self, step: int) -> None:
        """step → open files, of the length that they had at the checkpoint."""
        del step
        self.run.path.mkdir(parents=True, exist_ok=True)
        paths = {"metrics": self.run.metrics_file, "monitor": self.run.monitor_file}
        self.files = {name: open_whole(path, self.lengths[name]) for name, path in paths.items()}
        self.is_short = self.files["metrics"].tell() < (self.lengths["metrics"] or 0)
        sync(self.run.path)

    def remarks(self) -> list[str]:
        """A sentence, if lines are missing."""
        if not self.is_short:
            return []
        return [_("metrics.jsonl lacks lines that it had at the checkpoint.")]

    def close(self) -> None:
        """Closes the files; what is recorded after another `open` is added to them."""
        for file in self.files.values():
            file.close()
        self.files, self.lengths = {}, dict.fromkeys(self.lengths)

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """step, split, values → a line of metrics.jsonl."""
        self._write("metrics", {"step": step, "split": split, **values})

    def measures(self, step: int, measures: Measures) -> None:
        """step, measures → a line of monitor.jsonl, those per head by themselves."""
        per_head = {
            name: parts
            for name, parts in measures.items()
            if any(isinstance(value, list) for value in parts.values())
        }
        rest = {name: parts for name, parts in measures.items() if name not in per_head}
        self._write("monitor", {"step": step, "measures": rest, "heads": per_head})

    def warning(self, warning: HealthWarning) -> None:
        """A warning → a line of monitor.jsonl."""
        self._write("monitor", {**warning._asdict(), "text": warning_text(warning)})

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """step, name, pixels → a PNG in the folder of images."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="png")
        atomic_write(self.run.logged_image(name, step), buffer.getvalue())

    def state(self) -> dict[str, Any]:
        """The lengths of the files, which are on disk by then."""
        for name, file in self.files.items():
            file.flush()
            os.fsync(file.fileno())
            self.lengths[name] = file.tell()
        return {"lengths": dict(self.lengths)}

    def load_state(self, state: dict[str, Any]) -> None:
        """state → the lengths that files had; of open ones that is the length again."""
        self.lengths |= state.get("lengths", dict.fromkeys(self.lengths))
        if self.files:
            lengths = dict(self.lengths)
            self.close()
            self.lengths = lengths
            self.open(0)

    def _write(self, name: str, line: dict[str, Any]) -> None:
        self.files[name].write((json.dumps(line) + "\n").encode())
        self.files[name].flush()


def open_whole(path: Path, length: int | None = None) -> IO[bytes]:
    """Opens a file of lines for writing, at the end of its last whole line.

    Args:
        path: the file, which need not exist.
        length: bytes of it that count; None for all.

    Returns:
        The open file, cut there.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "lines.jsonl"
        >>> path.write_text("{}\\n{")
        4
        >>> with open_whole(path) as file:
        ...     file.tell()
        3
    """
    file = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115, the caller closes it
    content = file.read(length)
    file.seek(content.rfind(b"\n") + 1)
    file.truncate()
    return file
