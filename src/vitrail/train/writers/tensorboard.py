"""TensorBoard: curves, settings (HPARAMS), notes and pictures."""

from collections.abc import Mapping

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from vitrail.run_folder import RunFolder
from vitrail.train.writers.base import Settings, Writer

FIGURES = ("train/loss", "val/loss", "val/top1", "test/top1")  # columns beside the settings


class TensorBoardWriter(Writer):
    """Writes TensorBoard's event files.

    Args:
        run: folder of the run.

    Example:
        >>> import tempfile
        >>> run = RunFolder(tempfile.mkdtemp())
        >>> writer = TensorBoardWriter(run)
        >>> writer.open(0)
        >>> writer.scalars(1, "train", {"loss": 0.5})
        >>> writer.close()
        >>> len(list(run.tensorboard_folder.iterdir()))
        1
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.board: SummaryWriter | None = None

    def open(self, step: int) -> None:
        """step → an event file, in which points of later steps of older files do not count."""
        self.board = SummaryWriter(str(self.run.tensorboard_folder), purge_step=step + 1)

    def close(self) -> None:
        """Closes the event file."""
        assert self.board is not None
        self.board.close()

    def settings(self, values: Settings) -> None:
        """values → hyperparameters."""
        assert self.board is not None
        assert self.board.file_writer is not None
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in values.items()
        }
        for summary in hparams(plain, dict.fromkeys(FIGURES, 0.0)):
            self.board.file_writer.add_summary(summary)

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """step, split, values → a point of the curve "split/name" for each."""
        assert self.board is not None
        for name, value in values.items():
            self.board.add_scalar(f"{split}/{name}", value, step)

    def text(self, step: int, name: str, text: str) -> None:
        """step, name, text → a text."""
        assert self.board is not None
        self.board.add_text(name, text, step)

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """step, name, pixels → a picture."""
        assert self.board is not None
        self.board.add_image(name, pixels, step, dataformats="HWC")
