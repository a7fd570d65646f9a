"""The monitor changes nothing, goes on after an interruption, and says what is left out."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.train.processes import in_processes
from tests.train.tiny import RaiseAt, tiny
from vitrail.lens.health import HealthWarning, Measures
from vitrail.run_folder import RunFolder
from vitrail.train.data_factory import open_datasets
from vitrail.train.factory import build_trainer, train_run
from vitrail.train.monitor.callback import Monitor
from vitrail.train.monitor.probe import Probe
from vitrail.train.trainer import Trainer
from vitrail.train.writers.base import Writer

BATCH_NORMS = (
    "model={name: LeViT, options: {image_size: 64, dim: [16, 24, 32], depth: [1, 1, 1], "
    "heads: [2, 3, 4], key_dim: 8}}",
    "data.limit=64",
    "train.log_every=null",
)


def trained(folder: Path, *settings: str) -> tuple[Trainer, RunFolder]:
    """A run of 24 steps, measured or not, and its weights."""
    config = tiny(*settings)
    run = RunFolder(folder)
    trainer, _evaluator = build_trainer(config, run, open_datasets(config))
    trainer.fit()
    return trainer, run


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    assert trainer.ema is not None
    return {**trainer.method.state_dict(), **trainer.ema.state_dict()}


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("optim.accumulate=2",),
        ("train.precision=bf16", "train.gradient_checkpointing=true"),
        ("method.name=mae", "method.decoder_dim=16", "method.decoder_heads=2"),
        BATCH_NORMS,
    ],
)  # fmt: skip
def test_a_run_that_is_measured_is_the_same_to_the_bit(
    settings: tuple[str, ...], tmp_path: Path
) -> None:
    """With dropout, stochastic depth, mixup, erasing and an EMA."""
    plain, run = trained(tmp_path / "off", *settings, "train.monitor=off")
    measured, other = trained(tmp_path / "on", *settings, "train.monitor=2")
    assert not run.health
    assert len(other.health) == plain.total // 2
    assert run.metrics_file.read_bytes() == other.metrics_file.read_bytes()
    weights, same = weights_of(plain), weights_of(measured)
    assert weights.keys() == same.keys()
    for name, value in weights.items():
        assert torch.equal(value, same[name]), name
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in measured.method.modules())


def test_an_interrupted_run_has_the_same_lines(tmp_path: Path) -> None:
    run = tiny("train.monitor=2")
    train_run(run, tmp_path / "whole")
    with pytest.raises(ZeroDivisionError):
        train_run(run, tmp_path / "cut", callbacks=[RaiseAt(9)])
    torch.manual_seed(1234)
    train_run(run, tmp_path / "cut", resume=True)
    whole, cut = (RunFolder(tmp_path / name).monitor_file.read_bytes() for name in ("whole", "cut"))
    assert whole == cut
    assert whole.count(b"\n") == 12


def measured_in_two(folder: Path) -> tuple[dict[str, Tensor], int]:
    trainer, run = trained(folder, "train.monitor=4")
    return weights_of(trainer), len(run.health)


def plain_in_two(folder: Path) -> dict[str, Tensor]:
    return weights_of(trained(folder, "train.monitor=off")[0])


def test_of_several_processes_the_first_measures(tmp_path: Path) -> None:
    (weights, count), (others, _same) = in_processes(2, measured_in_two, tmp_path / "on")
    plain, _ = in_processes(2, plain_in_two, tmp_path / "off")
    assert count == 6
    for name, value in plain.items():
        assert torch.equal(value, weights[name]), name
        assert torch.equal(value, others[name]), name


class Lines(Writer):
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.lines: dict[int, Measures] = {}
        self.warnings: list[HealthWarning] = []

    def measures(self, step: int, measures: Measures) -> None:
        self.lines[step] = measures

    def warning(self, warning: HealthWarning) -> None:
        self.warnings.append(warning)


def test_it_measures_at_the_steps_that_are_due() -> None:
    monitor = Monitor(Writer())
    due = [step for step in range(1, 1001) if monitor.is_due(step, 1000)]
    assert due == [*range(10, 201, 10), *range(250, 1001, 50)]
    long = [step for step in range(1, 301_001) if monitor.is_due(step, 301_000)]
    assert long[:20] == list(range(10, 201, 10))
    assert long[20:22] == [350, 700]
    assert len(long) == 20 + 860
    assert [s for s in range(1, 13) if Monitor(Writer(), every=5).is_due(s, 300_000)] == [5, 10]


def test_a_line_holds_every_measure(tmp_path: Path) -> None:
    _trainer, run = trained(tmp_path, "train.monitor=8")
    first, *_rest = run.health
    assert first["step"] == 8
    assert set(first["measures"]) == {
        "step", "gradient_norm", "update_ratio", "weight_norm", "unchanged", "drop_path_survival",
        "activation_mean", "activation_std", "patch_norm", "norm_outliers", "feature_rank",
        "dead_units",
    }  # fmt: skip
    assert set(first["heads"]) == {
        "attention_entropy", "attention_to_self", "attention_to_one_token", "head_output",
        "head_gradient",
    }  # fmt: skip
    assert list(first["measures"]["gradient_norm"]) == ["embed", "block 0", "block 1", "head"]
    assert len(first["heads"]["attention_entropy"]["block 1"]) == 2
    together = sum(v**2 for v in first["measures"]["gradient_norm"].values()) ** 0.5
    assert together == pytest.approx(first["measures"]["step"]["grad_norm"], rel=1e-3)
    assert 0.6 < first["measures"]["drop_path_survival"]["block 1"] <= 1  # a rate of 0.1


def test_a_compiled_method_runs_compiled_and_is_measured(tmp_path: Path) -> None:
    """Without torch.compile itself: its trace on a method is what the monitor asks for."""
    config = tiny("train.monitor=8")
    trainer, _evaluator = build_trainer(config, RunFolder(tmp_path), open_datasets(config))
    trainer.method.compile(backend="eager")
    trainer.fit()
    line = RunFolder(tmp_path).health[0]
    assert "attention_entropy" in line["heads"]
    assert "drop_path_survival" not in line["measures"]


def test_features_without_images_are_measured_by_their_weights(tmp_path: Path) -> None:
    _trainer, run = trained(
        tmp_path, "method={name: linear_probe}", "optim.ema=0", "train.monitor=4",
        "data.augment={crop: none}",
    )  # fmt: skip
    assert not run.health[0]["heads"]
    assert run.health[0]["measures"]["gradient_norm"].keys() == {"head"}
    assert not [line for line in run.health if "kind" in line]


def test_a_run_does_not_end_for_its_monitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_probe: Probe, _images: Tensor) -> Measures:
        raise TypeError("a model of another kind")

    monkeypatch.setattr(Probe, "__call__", broken)
    trainer, run = trained(tmp_path, "train.monitor=8")
    assert trainer.step == 24
    assert len(run.health) == 3
    text = "the monitor measures nothing inside this model: TypeError: a model of another kind"
    assert capsys.readouterr().err.count(text) == 1


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    """JSON has no NaN, and a reader refuses it."""
    from vitrail.train.monitor.callback import _rounded

    nan, measures = float("nan"), {"a": {"block 0": [1.0, float("inf")], "block 1": 1.23456789}}
    assert _rounded({**measures, "b": {"embed": nan}}) == {"a": {"block 1": 1.2346}}


def test_a_dry_run_measures_nothing(tmp_path: Path) -> None:
    train_run(tiny("train.monitor=1"), tmp_path / "run", dry_run=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["-1", "0.5", "sometimes"])
def test_other_values_of_the_setting_are_refused(value: str) -> None:
    from vitrail.errors import ConfigError

    with pytest.raises(ConfigError, match=r"train\.monitor"):
        tiny(f"train.monitor={value}")
    assert tiny("train.monitor=off").train.monitor is False
    assert tiny("train.monitor=on").train.monitor is True
    assert tiny("train.monitor=1").train.monitor == 1
