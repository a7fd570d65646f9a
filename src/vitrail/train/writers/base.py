"""What records a run: one interface for files, TensorBoard, Weights & Biases and MLflow."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vitrail.lens.health import HealthWarning, Measures, warning_text

Settings = Mapping[str, object]  # of a run, by dotted name


class Writer:
    """Base class of what records a run. Only the main process has writers.

    A subclass overrides what it can record. Between `close` and the next `open` nothing is called.

    Example:
        >>> class Printer(Writer):
        ...     def scalars(self, step, split, values):
        ...         print(step, split, values)
        >>> Printer().measures(10, {"weight_norm": {"block 0": 2.0}})
        10 health {'weight_norm/block 0': 2.0}
    """

    def open(self, step: int) -> None:
        """step → ready to record what follows it; what was recorded of later steps is dropped."""

    def remarks(self) -> list[str]:
        """Sentences on what the user should know, after `open`."""
        return []

    def close(self) -> None:
        """All that was recorded is on disk."""

    def settings(self, values: Settings) -> None:
        """values by dotted name → the settings of the run."""

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """step, split ("train", "val", "test", "spike", "health"), values by name → recorded."""

    def measures(self, step: int, measures: Measures) -> None:
        """step, measures of the monitor → recorded, as scalars where there is no better way."""
        self.scalars(step, "health", dict(as_scalars(measures)))

    def warning(self, warning: HealthWarning) -> None:
        """A warning of the monitor → recorded, as text where there is no better way."""
        self.text(warning.step, "warning", warning_text(warning))

    def text(self, step: int, name: str, text: str) -> None:
        """step, name, plain text → recorded."""

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """step, name, pixels uint8 (H, W, 3) → recorded."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold of it: plain values for JSON."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """What `state` returned → as it was."""


class Writers(Writer):
    """Several writers as one.

    Args:
        writers: called in this order.

    Example:
        >>> Writers([Writer()]).state()
        {'Writer': {}}
    """

    def __init__(self, writers: Sequence[Writer]) -> None:
        self.writers = tuple(writers)

    def open(self, step: int) -> None:
        """step → all of them open."""
        for writer in self.writers:
            writer.open(step)

    def remarks(self) -> list[str]:
        """The sentences of all."""
        return [remark for writer in self.writers for remark in writer.remarks()]

    def close(self) -> None:
        """Closes all of them."""
        for writer in self.writers:
            writer.close()

    def settings(self, values: Settings) -> None:
        """values → each records them."""
        for writer in self.writers:
            writer.settings(values)

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """step, split, values → each records them."""
        for writer in self.writers:
            writer.scalars(step, split, values)

    def measures(self, step: int, measures: Measures) -> None:
        """step, measures → each records them."""
        for writer in self.writers:
            writer.measures(step, measures)

    def warning(self, warning: HealthWarning) -> None:
        """A warning → each records it."""
        for writer in self.writers:
            writer.warning(warning)

    def text(self, step: int, name: str, text: str) -> None:
        """step, name, text → each records it."""
        for writer in self.writers:
            writer.text(step, name, text)

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """step, name, pixels → each records them."""
        for writer in self.writers:
            writer.image(step, name, pixels)

    def state(self) -> dict[str, Any]:
        """The states by name of the class."""
        return {type(writer).__name__: writer.state() for writer in self.writers}

    def load_state(self, state: dict[str, Any]) -> None:
        """state → each has its own again."""
        for writer in self.writers:
            writer.load_state(state.get(type(writer).__name__, {}))


def as_scalars(measures: Measures) -> Iterator[tuple[str, float]]:
    """Measures as pairs of a name and a number.

    Args:
        measures: by measure, then by part: a number, or a list of one per head.

    Yields:
        Names such as "attention_entropy/block 3/head 1", with their numbers.

    Example:
        >>> list(as_scalars({"attention_entropy": {"block 3": [0.5, 0.25]}}))[1]
        ('attention_entropy/block 3/head 1', 0.25)
    """
    for name, parts in measures.items():
        for part, value in parts.items():
            if isinstance(value, list):
                for head, number in enumerate(value):
                    yield f"{name}/{part}/head {head}", number
            else:
                yield f"{name}/{part}", value
