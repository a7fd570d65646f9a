"""What guards cost: in a step beside all of the step, in a save beside a plain write and fsync."""

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from tests.train.tiny import tiny
from vitrail.files import sync
from vitrail.methods import distributed
from vitrail.methods.supervised import Supervised
from vitrail.run_folder import RunFolder
from vitrail.tensor_bytes import tensor_bytes
from vitrail.train import checkpoint
from vitrail.train.checkpoint import Progress, TrainState, save_checkpoint
from vitrail.train.factory import train_run
from vitrail.train.optim import make_ema
from vitrail.train.spikes import SpikeWatch
from vitrail.train.trainer import Trainer

NAME = "vit_tiny_patch16_224"
PAIRS = 20


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
            (Trainer, "check_finite"), (distributed, "largest"), (SpikeWatch, "after_step"),
            (SpikeWatch, "log"),
        ):  # fmt: skip
            patch.setattr(owner, name, guards.around(getattr(owner, name)))
        train_run(
            tiny(f"model={{name: {NAME}}}", "data.limit=160", "data.batch_size=8",
                 "data.augment={crop: none, flip: 0}", "schedule.epochs=1", "train.log_every=10"),
            folder / "run",
        )  # fmt: skip
    return guards.seconds / steps.seconds


def of_a_save(folder: Path, seed: int, pairs: int = PAIRS) -> tuple[float, float]:
    """Time of a checkpoint of ViT-Ti with AdamW and EMA, 91 MB, over that of a plain write.

    The plain write is of the same bytes, in three files with an fsync of each. Both write new
    files, and delete those of the last but one. They take turns.

    Returns:
        The least time over the least, and the median of the ratios of the pairs.
    """
    torch.manual_seed(seed)
    method = Supervised(vitrail.create_model(NAME, num_classes=1000))
    optimizer = torch.optim.AdamW(method.parameters())
    for parameter in method.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    state = TrainState(method, optimizer, make_ema(method, 0.9), None)
    files = {
        "model": method.state_dict(), "optimizer": checkpoint._optimizer_state(state),
        "ema": state.ema.module.state_dict() if state.ema is not None else {},
    }  # fmt: skip
    parts = {name: tensor_bytes(tensors) for name, tensors in files.items()}
    run = RunFolder(folder / "saves")

    def guarded(number: int) -> None:
        save_checkpoint(run, Progress(number, 5, {}), state)

    def plain(number: int) -> None:
        new = folder / f"plain{number}"
        new.mkdir()
        for name, content in parts.items():
            with open(new / name, "wb") as file:
                file.writelines(content)
            sync(new / name)
        shutil.rmtree(folder / f"plain{number - checkpoint.NEWEST}", ignore_errors=True)

    times: dict[Callable[[int], None], list[float]] = {guarded: [], plain: []}
    for number in range(1, pairs + 2):
        for write in (guarded, plain) if number % 2 else (plain, guarded):
            start = time.perf_counter()
            write(number)
            times[write].append(time.perf_counter() - start)
    ours, theirs = (times[write][1:] for write in (guarded, plain))  # the first warms up
    median = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return min(ours) / min(theirs), median
