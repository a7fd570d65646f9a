"""Loss spikes are noted once each, and nothing else is."""

import json
import random
from pathlib import Path

import pytest
import torch

from tests.faults.harness import CallAt
from tests.train.test_methods import of
from tests.train.tiny import RaiseAt, tiny
from vitrail.lens.report_page import write_report
from vitrail.run_folder import RunFolder
from vitrail.train.factory import train_run
from vitrail.train.spikes import SpikeDetector
from vitrail.train.trainer import Trainer

LONG = ("schedule.epochs=5", "optim.ema=0", "schedule.warmup=0.1")


def begins(losses: list[float]) -> list[int]:
    detector = SpikeDetector()
    spikes = [detector(step, loss) for step, loss in enumerate(losses)]
    return [spike.step for spike in spikes if spike is not None]


def test_a_jump_that_stays_is_a_spike_and_a_hard_batch_is_none() -> None:
    noise = [1 + 0.05 * random.Random(0).gauss(0, 1) for _step in range(40)]
    assert begins([*noise, 3.0, 2.5, 2.0, *noise]) == [40]
    assert begins([*noise, 3.0, *noise]) == []
    assert begins([*noise[:20], 3.0, 2.5, *noise]) == []  # too early to tell
    assert begins([*noise, 3.0, 3.0, *noise, 3.0, 3.0]) == [40, 82]
    assert begins([*noise, *[3.0] * 200]) == [40]  # a level that stays is noted once
    assert begins([5.0] * 40 + [0.01] * 90 + [0.3] * 9) == []  # small beside the beginning
    assert begins([-1.0] * 40 + [2.0] * 3) == [40]


def test_the_fence_is_three_distances_above_the_quantile_of_the_last_64_losses() -> None:
    usual = [1.2] * 6 + [1.0] * 34  # median 1, quantile 1.2: the fence is at 1.8
    assert begins([*usual, 1.75, 1.75]) == []
    assert begins([*usual, 1.85, 1.85]) == [40]
    assert begins([3.0] * 100 + [1.0] * 64 + [1.8] * 2) == [164]
    assert begins([3.0] * 100 + [1.0] * 50 + [1.8] * 2) == []  # losses of 3 are still usual


def test_healthy_losses_have_no_spikes() -> None:
    choose = random.Random(0)
    for kind in range(60):
        level, losses = 2.3, []
        for step in range(1500):
            level = 2.3 * 0.998**step + 0.02
            mixed = 0.8 if kind % 3 == 1 and choose.random() < 0.5 else 0.0  # batches of mixup
            heavy = choose.expovariate(1) if kind % 3 == 2 else abs(choose.gauss(0, 1))
            losses.append(level * (1 + 0.2 * heavy) + mixed)
        assert begins(losses) == [], kind


@pytest.mark.parametrize(
    "name", ["mae", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dino", "clip"))]
)
def test_healthy_runs_have_no_spikes(name: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    train_run(of(name, *LONG), run.path)
    assert not [line for line in run.metrics if line["split"] == "spike"]


def spoil(trainer: Trainer) -> None:
    """Makes the last layer confident of anything."""
    with torch.no_grad():
        trainer.method.backbone.head.weight.normal_(0, 5)


def test_a_spike_is_a_line_in_the_log_the_metrics_and_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, cut = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "cut")
    config = tiny(*LONG)
    train_run(config, run.path, callbacks=[CallAt(51, spoil)])
    lines = [line for line in capsys.readouterr().err.splitlines() if "stayed high" in line]
    assert len(lines) == 1
    assert lines[0].startswith("step 52: the loss rose to ")
    (spike,) = [line for line in run.metrics if line["split"] == "spike"]
    assert (spike["step"], spike["begin"]) == (54, 52)
    assert spike["loss"] > 2 * spike["usual"]
    assert "The loss spiked at step 52:" in write_report(run.path).read_text("utf-8")
    with pytest.raises(ZeroDivisionError):
        train_run(config, cut.path, callbacks=[RaiseAt(51)])
    state = json.loads((cut.checkpoints[-1] / "state.json").read_text())
    assert len(state["callbacks"]["SpikeWatch"]["pending"]) == 2
    train_run(config, cut.path, resume=True, callbacks=[CallAt(51, spoil)])
    assert cut.metrics_file.read_bytes() == run.metrics_file.read_bytes()
