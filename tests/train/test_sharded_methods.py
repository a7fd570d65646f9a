"""Runs of every kind of method with weights that are shared out end with plain folders."""

from pathlib import Path

import pytest
import torch

import vitrail
from tests.train.processes import in_processes
from tests.train.test_methods import METHODS, of
from tests.train.tiny import tiny
from vitrail.hub.method_folder import load_method
from vitrail.run_folder import RunFolder
from vitrail.train.factory import train_run

WITHOUT_PARTS = {"dino", "distill"}  # beside the model there is nothing to keep
SETTINGS = ("train.sharding=fsdp", "schedule.epochs=1", "data.limit=100")
WITH_LABELS = {
    "supervised": (),
    "linear_probe": ("method={name: linear_probe}", "optim.ema=0"),
    "attentive_probe": ("method={name: attentive_probe, heads: 2}",),
}


def train_all(folder: Path, names: list[str]) -> None:
    for name in names:
        own = WITH_LABELS.get(name)
        config = of(name, *SETTINGS) if own is None else tiny(*own, *SETTINGS)
        train_run(config, folder / name)


def check(folder: Path, names: list[str]) -> None:
    in_processes(2, train_all, folder, names)
    for name in names:
        run = RunFolder(folder / name)
        model = vitrail.load(run.path)
        assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values()), name
        assert run.evaluation["count"] == 355, name
        assert len(list(run.checkpoints[-1].glob("shard-*"))) == 2, name
        if name in METHODS and name not in WITHOUT_PARTS:
            load_method(run.path)


def test_a_run_of_mae_ends_with_plain_folders(tmp_path: Path) -> None:
    check(tmp_path, ["mae"])


@pytest.mark.slow
def test_runs_of_all_methods_end_with_plain_folders(tmp_path: Path) -> None:
    check(tmp_path, [*METHODS, *WITH_LABELS])
