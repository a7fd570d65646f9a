"""The best weights come out, and training ends where it gets no better."""

from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from tests.train.tiny import RaiseAt, tiny
from vitrail.run_folder import RunFolder
from vitrail.train.best import KeepBest
from vitrail.train.callbacks import Validation
from vitrail.train.evaluator import Evaluator
from vitrail.train.factory import train_run

EPOCHS = [
    {"top1": 0.2, "loss": 2.0}, {"top1": 0.5, "loss": 1.0}, {"top1": 0.5, "loss": 0.9},
    {"top1": 0.4, "loss": 0.1}, {"top1": 0.5, "loss": 0.9}, {"top1": 0.3, "loss": 0.1},
    {"top1": 0.9, "loss": 0.1}, {"top1": 0.1, "loss": 0.1},
]  # fmt: skip
RUN = ("data.limit=64", "train.save_every=1", "optim.ema=0")  # two steps an epoch


@pytest.fixture(autouse=True)
def figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations whose figures are those of `EPOCHS`."""
    real = Validation.after_step

    def after_step(self: Validation, trainer: Any, values: Any) -> None:
        epoch = EPOCHS[int(trainer.epochs_done) - 1]
        monkeypatch.setattr(Evaluator, "figures", lambda *_: dict(epoch))
        real(self, trainer, values)

    monkeypatch.setattr(Validation, "after_step", after_step)


def head(run: RunFolder) -> torch.Tensor:
    return vitrail.load(run.path).head.weight.detach()


def head_at(folder: Path, epochs: int) -> torch.Tensor:
    """The head of a run after so many of eight epochs."""
    run = RunFolder(folder / f"first{epochs}")
    with pytest.raises(ZeroDivisionError):
        train_run(tiny(*RUN, "schedule.epochs=8"), run.path, callbacks=[RaiseAt(2 * epochs)])
    import safetensors.torch

    return safetensors.torch.load_file(run.checkpoints[-1] / "model.safetensors")[
        "backbone.head.weight"
    ]


def test_the_best_weights_come_out_also_after_an_interruption(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    config = tiny(*RUN, "schedule.epochs=8")
    with pytest.raises(ZeroDivisionError):
        train_run(config, run.path, callbacks=[RaiseAt(9)])
    train_run(config, run.path, resume=True)
    assert run.evaluation["weights"] == "best step, 14"
    assert torch.equal(head(run), head_at(tmp_path, 7))
    assert not torch.equal(head(run), head_at(tmp_path, 6))
    assert sorted(file.name for file in run.best_folder.iterdir()) == [
        "step-00000006", "step-00000014",
    ]  # fmt: skip
    train_run(tiny(*RUN, "schedule.epochs=8", "train.keep=last"), tmp_path / "last")
    assert RunFolder(tmp_path / "last").evaluation["weights"] == "last step"
    assert not RunFolder(tmp_path / "last").best_folder.exists()


@pytest.mark.parametrize("keep", ["best", "last"])
def test_training_ends_where_it_gets_no_better(tmp_path: Path, keep: str) -> None:
    run = RunFolder(tmp_path / "run")
    changes = (*RUN, "schedule.epochs=8", "train.early_stopping=2", f"train.keep={keep}")
    train_run(tiny(*changes), run.path)
    assert [line["step"] for line in run.metrics if line["split"] == "val"] == [2, 4, 6, 8, 10]
    assert run.checkpoints[-1].name == "step-00000010"
    best = "best step, 6" if keep == "best" else "last step"
    assert run.evaluation["weights"] == best
    train_run(tiny(*changes), run.path, resume=True)  # it has ended, and stays so
    assert [line["step"] for line in run.metrics if line["split"] == "val"] == [2, 4, 6, 8, 10]
    train_run(tiny(*changes, "train.early_stopping=4"), run.path, resume=True)
    assert [line["step"] for line in run.metrics if line["split"] == "val"][-1] == 16


def test_weights_that_a_checkpoint_refers_to_stay() -> None:
    best = KeepBest()
    for step in (1, 2, 3):
        best.step = step
        best.state()
    assert best.saved == [2, 3]
    best.load_state({"step": 7, "score": [0.5, -1.0], "worse": 1})
    assert (best.saved, best.worse) == ([7], 1)
