"""What is not finite reaches no checkpoint: the run stops, leaves the step out, or goes back."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.faults.harness import CallAt
from tests.train.tiny import tiny
from vitrail.errors import NotFiniteError
from vitrail.run_folder import RunFolder
from vitrail.train.factory import train_run
from vitrail.train.trainer import Trainer

VALUES = [float("nan"), float("inf")]


def finite(run: RunFolder) -> bool:
    files = [file for path in run.checkpoints for file in path.glob("*.safetensors")]
    tensors = [t for file in files for t in safetensors.torch.load_file(file).values()]
    return all(tensor.isfinite().all() for tensor in tensors)


def spoil(trainer: Trainer, what: str, value: float) -> None:
    """Makes something of the next step not finite, once."""
    method = trainer.method
    real = method.forward

    def forward(batch):  # type: ignore[no-untyped-def]
        method.forward = real  # type: ignore[method-assign]
        if what == "input":
            batch["images"].view(-1)[0] = value
        loss, metrics = real(batch)
        if what == "loss":
            return loss * value, metrics
        if what == "gradient":
            loss.register_hook(lambda gradient: gradient * value)
        return loss, metrics

    if what == "weights":
        method.backbone.head.weight.data.view(-1)[0] = value
    else:
        method.forward = forward  # type: ignore[method-assign]


def spoiled_runs(folder: Path, what: str, steps: Sequence[int]) -> dict[str, int]:
    """Runs in which something is not finite at one step → what of them was right."""
    counts = dict.fromkeys(("places", "one_line", "finite", "resumed"), 0)
    config = tiny("train.save_every=2", "data.limit=130", "schedule.epochs=6", "train.keep=last")
    for step, value in zip(steps, itertools.cycle(VALUES)):
        run = RunFolder(folder / f"{what}{step}")
        callback = CallAt(step, lambda trainer, value=value: spoil(trainer, what, value))
        counts["places"] += 1
        try:
            train_run(config, run.path, callbacks=[callback])
        except NotFiniteError as problem:
            counts["one_line"] += "\n" not in str(problem)
        counts["finite"] += finite(run)
        train_run(config, run.path, resume=True)
        counts["resumed"] += bool(run.evaluation) and finite(run)
    return counts


@pytest.mark.parametrize("what", ["loss", "gradient", "input", "weights"])
def test_the_run_stops_with_finite_checkpoints(tmp_path: Path, what: str) -> None:
    counts = spoiled_runs(tmp_path, what, (0, 17))
    assert counts == dict.fromkeys(counts, 2)


def test_weights_are_checked_before_they_are_saved(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    changes = ("schedule.warmup=0", "train.save_every=1", "optim.lr=1e38")
    with pytest.raises(NotFiniteError):
        train_run(tiny(*changes), run.path)
    assert finite(run)
    train_run(tiny("optim.lr=1e-3", *changes[:2]), run.path, resume=True)
    assert run.evaluation


def test_a_step_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(tmp_path / "run")
    callbacks = [
        CallAt(step, lambda trainer, what=what: spoil(trainer, what, float("nan")))
        for step, what in zip((3, 8, 15), ("loss", "gradient", "input"), strict=True)
    ]
    train_run(tiny("train.on_nan=skip"), run.path, callbacks=callbacks)
    errors = capsys.readouterr().err
    for step in (4, 9, 16):
        assert f"step {step} is not finite and left out." in errors
    assert errors.count("left out.") == 3
    assert finite(run)
    assert all(torch.tensor(line["loss"]).isfinite() for line in run.metrics)


def test_a_run_goes_back_and_takes_another_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orders: list[list[int]] = []

    class Once(CallAt):
        def before_step(self, trainer: Trainer) -> None:
            if trainer.step == self.at and next(count) == 0:
                self.function(trainer)

    for what, step in itertools.product(("loss", "weights"), (0, 8)):
        count = itertools.count()
        run = RunFolder(tmp_path / f"{what}{step}")
        callback = Once(step, lambda trainer, what=what: spoil(trainer, what, float("nan")))
        train_run(tiny("train.on_nan=rollback"), run.path, callbacks=[callback])
        back = 0 if step == 0 else 5
        text = f"Going on from step {back} with another order of the samples."
        assert text in capsys.readouterr().err
        assert finite(run)
        steps = [line["step"] for line in run.metrics if line["split"] == "train"]
        assert steps == [3, 6, 9, 12, 15, 18, 21, 24]
        orders.append([line.get("loss") for line in run.metrics])
    undisturbed = RunFolder(tmp_path / "undisturbed")
    train_run(tiny(), undisturbed.path)
    losses = [line.get("loss") for line in undisturbed.metrics]
    assert orders[1][0] == losses[0]  # before the rollback
    assert orders[1][2] != losses[2]  # after it


def test_a_run_that_is_never_finite_stops(tmp_path: Path) -> None:
    for policy in ("skip", "rollback"):
        changes = (f"train.on_nan={policy}", "schedule.warmup=0", "optim.lr=1e38")
        with pytest.raises(NotFiniteError):
            train_run(tiny(*changes), tmp_path / policy)
        assert finite(RunFolder(tmp_path / policy))
