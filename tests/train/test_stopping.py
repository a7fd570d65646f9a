"""Whatever stops a run: one line with what, the checkpoint, and a cure that works."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import photographs
from tests.models.small import small
from tests.train.tiny import tiny
from vitrail.errors import ConfigError, DataError, TrainingError
from vitrail.methods.base import Batch, Method
from vitrail.methods.linear_probe import LinearProbe
from vitrail.methods.supervised import Supervised
from vitrail.run_folder import RunFolder
from vitrail.train.callback import Callback
from vitrail.train.config import RunConfig
from vitrail.train.data_factory import open_datasets
from vitrail.train.factory import build_trainer, train_run
from vitrail.train.schedule import Schedule
from vitrail.train.stopping import explain_stop
from vitrail.train.streams import FeatureStream
from vitrail.train.trainer import Trainer

GO_ON = "Go on by resume=True."


class CallAt(Callback):
    """Calls a function before a step."""

    def __init__(self, step: int, function: object) -> None:
        self.at, self.function = step, function

    def before_step(self, trainer: Trainer) -> None:
        if trainer.step == self.at:
            self.function()  # type: ignore[operator]


def sgd_of(method: Method) -> torch.optim.Optimizer:
    return torch.optim.SGD(method.backbone.head.parameters(), lr=0.1)


def on_photographs(root: Path, *overrides: str) -> RunConfig:
    if not root.exists():
        photographs(root, per_class=20)
    changes = ("data.limit=null", "data.batch_size=8", "train.save_every=1", "data.augment={}")
    return tiny(f"data.source=folder:{root}", "model.options.image_size=8", *changes, *overrides)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_goes_missing_is_one_line_with_its_cure(tmp_path: Path, workers: int) -> None:
    run, config = tmp_path / "run", on_photographs(tmp_path / "pets", f"data.workers={workers}")
    gone = sorted((tmp_path / "pets" / "cat").iterdir())

    def hide() -> None:
        for path in gone:
            path.rename(path.with_suffix(".hidden"))

    with pytest.raises(TrainingError) as caught:
        train_run(config, run, callbacks=[CallAt(4, hide)])
    text = str(caught.value)
    assert text.startswith(str(tmp_path / "pets" / "cat"))
    assert "\n" not in text
    assert "Traceback" not in text
    assert text.count("cannot be read (No such file or directory)") == 1
    last = RunFolder(run).checkpoints[-1]
    assert text.endswith(f"the last good checkpoint is {last}. Put the sample back. {GO_ON}")
    for path in gone:
        path.with_suffix(".hidden").rename(path)
    train_run(config, run, resume=True)
    assert RunFolder(run).evaluation


def test_a_batch_that_a_method_refuses_is_no_missing_sample() -> None:
    features = FeatureStream(torch.zeros(4, 7), torch.zeros(4).long(), 2)
    method = LinearProbe(small("ViT"))
    trainer = Trainer(method, features, sgd_of(method), schedule=Schedule(2))
    with pytest.raises(TrainingError, match="features of width 7 do not fit") as caught:
        trainer.fit()
    assert str(caught.value).endswith(f"with the same model; there is no checkpoint yet. {GO_ON}")


def test_what_is_not_finite_of_a_batch_is_named() -> None:
    features = torch.zeros(4, 32)
    features[1] = float("nan")
    method = LinearProbe(small("ViT"))
    stream = FeatureStream(features, torch.zeros(4).long(), 4)
    trainer = Trainer(method, stream, sgd_of(method), schedule=Schedule(2))
    with pytest.raises(TrainingError, match="at step 1, for features of its batch are not: leave"):
        trainer.fit()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (torch.tensor(1.0), "Own.forward returns a Tensor: return vitrail.methods.Loss"),
        ((torch.zeros(2), {}), r"Own.forward: the loss is torch.Size\(\[2\]\): let it be a tensor"),
        ((torch.tensor(1.0), {"top1": "high"}), "Own.forward: top1 is str: let it be a tensor of"),
    ],
)
def test_what_a_method_of_ones_own_returns_is_checked(result: Any, message: str) -> None:
    class Own(LinearProbe):
        def forward(self, batch: Batch) -> Any:
            return result

    method = Own(small("ViT"))
    features = FeatureStream(torch.zeros(4, 32), torch.zeros(4).long(), 2)
    with pytest.raises(ConfigError, match=message):
        Trainer(method, features, sgd_of(method), schedule=Schedule(2)).fit()


def test_an_epoch_without_a_step_is_one_line() -> None:
    config = tiny("optim.accumulate=50")
    with pytest.raises(ConfigError, match="accumulate=50 is more than the 12 batches of an epoch"):
        build_trainer(config, RunFolder("unused"), open_datasets(config))


def test_after_nan_the_cure_can_be_followed(tmp_path: Path) -> None:
    for save_every in (1, 100):
        run = tmp_path / f"run{save_every}"
        changes = ("optim.clip=1e30", f"train.save_every={save_every}", "schedule.warmup=0")
        with pytest.raises(TrainingError, match="not finite .*Lower the learning rate") as caught:
            train_run(tiny("optim.lr=1e30", *changes), run)
        assert str(caught.value).endswith(GO_ON)
        assert not RunFolder(run).checkpoints  # that of step 1 has weights of 1e30
        train_run(tiny("optim.lr=1e-3", "schedule.epochs=1", *changes), run, resume=True)
        assert RunFolder(run).settings["optim"]["lr"] == 1e-3


def test_after_nan_a_run_goes_on_from_its_good_checkpoint_at_a_lower_rate(tmp_path: Path) -> None:
    class Spoil(Callback):
        def before_step(self, trainer: Trainer) -> None:
            if trainer.step == 7:
                trainer.method.backbone.head.weight.data.mul_(float("nan"))

    run = RunFolder(tmp_path / "run")
    with pytest.raises(TrainingError, match="not finite at step 8; .*step-00000005"):
        train_run(tiny(), run.path, callbacks=[Spoil()])
    train_run(tiny("optim.lr=1e-4"), run.path, resume=True)
    assert run.evaluation["count"] == 355


@pytest.mark.parametrize(
    "problem", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator:")]
)
def test_a_batch_that_is_too_large_is_halved_and_the_run_goes_on_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    real = Supervised.forward

    def forward(self: Supervised, batch: dict) -> object:
        if len(batch) > 8 and steps:
            raise problem
        return real(self, batch)

    steps: list[int] = []
    monkeypatch.setattr(Supervised, "forward", forward)
    monkeypatch.setattr(Supervised, "batch_wide", True)  # others go on by themselves
    config = on_photographs(tmp_path / "pets", "data.batch_size=16")
    with pytest.raises(TrainingError, match="a batch of 16 does not fit into memory") as caught:
        train_run(config, tmp_path / "run", callbacks=[CallAt(2, lambda: steps.append(1))])
    cure = "data.batch_size=8 optim.accumulate=2"
    assert cure in str(caught.value)
    config = on_photographs(tmp_path / "pets", *cure.split())
    train_run(config, tmp_path / "run", resume=True)
    steps_of = [line["step"] for line in RunFolder(tmp_path / "run").metrics]
    assert steps_of[-1] == 4  # as many as without halving
    with pytest.raises(ConfigError, match="a batch of 32 is larger than before"):
        config = on_photographs(tmp_path / "pets", "data.batch_size=32", "optim.accumulate=1")
        train_run(config, tmp_path / "run", resume=True)


def test_a_finished_run_goes_on_longer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(tmp_path / "run")
    train_run(tiny("schedule.epochs=1"), run.path)
    train_run(tiny("schedule.epochs=3"), run.path, resume=True)
    assert "schedule.epochs was 1 and is 3 from here on." in capsys.readouterr().err
    assert [line["step"] for line in run.metrics if line["split"] == "val"] == [12, 24, 36]
    assert run.settings["schedule"]["epochs"] == 3


def test_only_what_has_a_cure_is_explained() -> None:
    run = RunFolder("nowhere")
    assert explain_stop(RuntimeError("shapes differ"), run, 8, 1) is None
    killed = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
    assert "Lower data.workers." in str(explain_stop(killed, run, 8, 1))
    assert "smaller model" in str(explain_stop(MemoryError(), run, 1, 1))
    text = str(explain_stop(DataError("a.jpg: cannot be read."), run, 8, 1))
    assert text.startswith("a.jpg: cannot be read; there is no checkpoint yet. Put")
