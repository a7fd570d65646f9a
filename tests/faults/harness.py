"""What the tests of faults share: small runs on image files, and what happens to them."""

from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import photographs
from tests.train.tiny import tiny
from vitrail.train.callback import Callback
from vitrail.train.config import RunConfig
from vitrail.train.trainer import Trainer


class CallAt(Callback):
    """Calls a function of the trainer before a step."""

    def __init__(self, step: int, function: Callable[[Trainer], object]) -> None:
        self.at, self.function = step, function

    def before_step(self, trainer: Trainer) -> None:
        if trainer.step == self.at:
            self.function(trainer)


def on_files(root: Path, *overrides: str) -> RunConfig:
    """A run of 2 epochs of 4 steps on image files, which workers read; root is made if need be."""
    if not root.exists():
        photographs(root, per_class=20)
    changes = ("data.limit=null", "data.batch_size=8", "train.save_every=2", "data.augment={}")
    return tiny(f"data.source=folder:{root}", "model.options.image_size=8", *changes, *overrides)
