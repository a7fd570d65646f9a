"""A run that takes seconds."""

import copy
from pathlib import Path
from typing import Any

import yaml

from vitrail.train.callback import Callback
from vitrail.train.config import RunConfig, make_config
from vitrail.train.trainer import Trainer

TINY: dict[str, Any] = {
    "model": {
        "name": "ViT",
        "options": {
            "patch_size": 2, "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 64,
            "pool": "mean", "dropout": 0.1, "drop_path": 0.1,
        },
    },
    "data": {
        "source": "digits",
        "limit": 400,
        "batch_size": 32,
        "augment": {"crop": "padded", "padding": 1, "flip": 0.0, "mixup": 0.2, "erasing": 0.2},
    },
    "optim": {"lr": 0.003, "ema": 0.9},
    "schedule": {"epochs": 2},
    "train": {"threads": 1, "log_every": 3, "save_every": 5},
}  # fmt: skip


def tiny(*overrides: str) -> RunConfig:
    """The tiny run, with changes."""
    return make_config(copy.deepcopy(TINY), overrides)


def write_recipe(path: Path, *overrides: str) -> Path:
    """The tiny run as a recipe."""
    path.write_text(yaml.safe_dump(tiny(*overrides).plain()), "utf-8")
    return path


class RaiseAt(Callback):
    """Stops a run before one of its steps, as if it were killed there."""

    def __init__(self, step: int) -> None:
        self.at = step

    def before_step(self, trainer: Trainer) -> None:
        if trainer.step == self.at:
            raise ZeroDivisionError
