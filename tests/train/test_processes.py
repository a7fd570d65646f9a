"""Several processes train as one; Ctrl-C saves before it stops."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

import vitrail
from tests.train.test_fit import digest
from tests.train.test_kill import kill, start
from tests.train.tiny import write_recipe

PLAIN = (
    "data.augment={crop: none, flip: 0}",
    "model.options.dropout=0",
    "model.options.drop_path=0",
)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", *PLAIN)
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert start(recipe, alone, resume=False).wait() == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command = [*launcher, "--master_port", "29517", "-m", "vitrail", "train", str(recipe)]
    done = subprocess.run(
        [*command, "--out", str(together)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    one, two = (vitrail.load(run).state_dict() for run in (alone, together))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-4)
    lines = [(run / "metrics.jsonl").read_text().count("\n") for run in (alone, together)]
    assert lines[0] == lines[1], "a process beside the first wrote metrics"


def test_control_c_saves_and_the_run_goes_on(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", "schedule.epochs=4", "train.save_every=1000")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert start(recipe, whole, resume=False).wait() == 0
    process = start(recipe, stopped, resume=False)
    metrics = stopped / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(timeout=60) == 2
    finally:
        kill(process)
    message = stopped.with_suffix(".log").read_text().splitlines()[-1]
    assert message.startswith("error: stopped; the last good checkpoint is")
    assert message.endswith("Go on by --resume.")
    assert start(recipe, stopped, resume=True).wait() == 0
    assert digest(stopped) == digest(whole)
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["split"] == "val"][-1] == 4
