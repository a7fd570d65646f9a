"""What guards cost: in a step beside all of the step, in a save beside a plain write and fsync."""

import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import vitrail
from tests.train.tiny import tiny
from vitrail.methods.supervised import Supervised
from vitrail.run_folder import RunFolder
from vitrail.train import checkpoint
from vitrail.train.checkpoint import Progress, TrainState, save_checkpoint
from vitrail.train.factory import train_run
from vitrail.train.optim import make_ema
from vitrail.train.spikes import SpikeWatch
from vitrail.train.trainer import Trainer

NAME = "vit_tiny_patch16_224"
SAVES = 5


class Stopwatch:
    """Adds up the time that functions take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                self.seconds += time.perf_counter() - start

        return call


def of_a_step(folder: Path) -> float:
    """Time of the checks for NaN, spikes and signals, over that of whole steps of ViT-Ti, b8.

    A line is logged every ten steps, before which the weights are checked; the default is 50.
    """
    guards, steps = Stopwatch(), Stopwatch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_step", steps.around(Trainer.train_step))
        for owner, name in (
            (Trainer, "check_finite"), (Trainer, "_agreed"), (SpikeWatch, "after_step"),
            (SpikeWatch, "log"),
        ):  # fmt: skip
            patch.setattr(owner, name, guards.around(getattr(owner, name)))
        train_run(
            tiny(f"model={{name: {NAME}}}", "data.limit=160", "data.batch_size=8",
                 "data.augment={crop: none, flip: 0}", "schedule.epochs=1", "train.log_every=10"),
            folder / "run",
        )  # fmt: skip
    return guards.seconds / steps.seconds


def of_a_save(folder: Path, seed: int) -> float:
    """Time of a checkpoint of ViT-Ti with AdamW and EMA, over that of the same bytes plain.

    Both write new files, and delete those of the last but one.
    """
    torch.manual_seed(seed)
    method = Supervised(vitrail.create_model(NAME, num_classes=1000))
    optimizer = torch.optim.AdamW(method.parameters())
    for parameter in method.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    state = TrainState(method, optimizer, make_ema(method, 0.9), None)
    run = RunFolder(folder / "saves")
    ratios = []
    for number in range(SAVES + 1):  # the first warms up
        start = time.perf_counter()
        path = save_checkpoint(run, Progress(number + 1, 5, {}), state)
        guarded = time.perf_counter() - start
        tensors = {
            file.name: safetensors.torch.load_file(file) for file in path.glob("*.safetensors")
        }
        plain = folder / f"plain{number}"
        plain.mkdir()
        start = time.perf_counter()
        for name, content in tensors.items():
            with open(plain / name, "wb") as file:
                file.write(safetensors.torch.save(content))
                file.flush()
                os.fsync(file.fileno())
        shutil.rmtree(folder / f"plain{number - checkpoint.NEWEST}", ignore_errors=True)
        ratios.append(guarded / (time.perf_counter() - start))
    return statistics.median(ratios[1:])
