"""Weights & Biases, offline: nothing leaves the machine before `wandb sync`."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from vitrail.run_folder import RunFolder
from vitrail.train.writers.base import Settings, Writer


class WandbWriter(Writer):
    """Writes a run of Weights & Biases to the run's folder.

    Args:
        run: folder of the run.

    Example:
        >>> WandbWriter(RunFolder("runs/pets")).state()
        {'id': None}
    """

    def __init__(self, run: RunFolder) -> None:
        self.run, self.id = run, None  # of the run there; None until it exists
        self.board: Any = None

    def open(self, step: int) -> None:
        """step → the same run as before, if there was one."""
        del step
        import wandb

        options = {"mode": "offline", "resume": "allow", "id": self.id}
        self.board = wandb.init(
            project="vitrail", name=self.run.path.name, dir=str(self.run.path), **options
        )
        self.id = self.board.id

    def close(self) -> None:
        """Ends the run."""
        self.board.finish()

    def settings(self, values: Settings) -> None:
        """values → the config."""
        self.board.config.update(dict(values), allow_val_change=True)

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """step, split, values → a point of the curve "split/name" for each."""
        self.board.log({f"{split}/{name}": value for name, value in values.items()}, step=step)

    def text(self, step: int, name: str, text: str) -> None:
        """step, name, text → a text."""
        import wandb

        self.board.log({name: wandb.Html(f"<p>{html.escape(text)}</p>")}, step=step)

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """step, name, pixels → a picture."""
        import wandb

        self.board.log({name: wandb.Image(pixels)}, step=step)

    def state(self) -> dict[str, Any]:
        """The id of the run there."""
        return {"id": self.id}

    def load_state(self, state: dict[str, Any]) -> None:
        """state → the run goes on there."""
        self.id = state.get("id", self.id)
