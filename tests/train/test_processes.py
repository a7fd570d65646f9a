"""Several processes train as one; Ctrl-C saves before it stops."""

import os
import signal
from pathlib import Path

import torch

import vitrail
from tests.faults import forked
from tests.train.test_fit import digest
from tests.train.tiny import tiny, write_recipe
from vitrail.run_folder import RunFolder
from vitrail.train.factory import train_run

PLAIN = (
    "data.augment={crop: none, flip: 0}",
    "model.options.dropout=0",
    "model.options.drop_path=0",
)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """As torchrun starts them; under torchrun itself in tests/faults/test_launcher.py."""
    recipe = write_recipe(tmp_path / "recipe.yaml", *PLAIN)
    alone, together = tmp_path / "alone", tmp_path / "together"
    train_run(recipe, alone)
    processes = forked.train(recipe, together, processes=2)
    assert forked.finish(processes) == [0, 0], together.with_suffix(".log").read_text()
    one, two = (vitrail.load(run).state_dict() for run in (alone, together))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-4)
    lines = [len(RunFolder(run).metrics) for run in (alone, together)]
    assert lines[0] == lines[1], "a process beside the first wrote metrics"


def test_control_c_saves_and_the_run_goes_on(tmp_path: Path) -> None:
    config = ("schedule.epochs=4", "train.save_every=1000")
    recipe, run = write_recipe(tmp_path / "recipe.yaml", *config), RunFolder(tmp_path / "run")
    train_run(tiny(*config), tmp_path / "whole")
    (process,) = forked.train(recipe, run.path)
    forked.wait_for_steps([process], run.path)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert forked.finish([process], 60) == [2]
    message = run.path.with_suffix(".log").read_text().splitlines()[-1]
    assert message.startswith("error: stopped; the last good checkpoint is")
    assert message.endswith("Go on by --resume.")
    train_run(tiny(*config), run.path, resume=True)
    assert digest(run.path) == digest(tmp_path / "whole")
    assert [line["epoch"] for line in run.metrics if line["split"] == "val"][-1] == 4
