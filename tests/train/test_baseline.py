"""A small CNN beside a run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from tests.train.tiny import tiny
from vitrail.errors import ConfigError
from vitrail.lens.report_page import write_report
from vitrail.preprocess import Preprocess
from vitrail.run_folder import RunFolder
from vitrail.train import timm_package
from vitrail.train.baseline import TimmNetwork, check_baseline, train_baseline
from vitrail.train.data_factory import open_datasets
from vitrail.train.factory import train_run
from vitrail.train.timm_package import import_timm

SMALL = "train.baseline=test_resnet"  # of timm, 0.5 million parameters


def test_a_cnn_learns_beside_the_model_and_the_report_compares_them(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    run = RunFolder(tmp_path / "run")
    config = tiny(SMALL, "schedule.epochs=1", "data.limit=64", "optim.ema=0")
    figures = train_run(config, run.path)
    plain = train_run(tiny("schedule.epochs=1", "data.limit=64", "optim.ema=0"), tmp_path / "plain")
    assert figures["loss"] == plain["loss"]  # the model itself is the same
    baseline = run.evaluation["baseline"]
    assert (baseline["name"], baseline["epochs"]) == ("test_resnet", 1)
    assert baseline["parameters"] > 100_000
    assert baseline["top1_low"] <= baseline["top1"] == figures["baseline_top1"]
    assert baseline["count"] == figures["count"]
    page = write_report(run).read_text()
    assert "accuracy of test_resnet, a CNN that learned from the same images" in page
    assert "was trained from scratch on the same images: 1 epoch, 0." in page
    assert json.loads(run.summary_file.read_text())["training"]["epochs"] == 1
    left = {path.name for path in run.path.iterdir()}
    assert left == {path.name for path in (tmp_path / "plain").iterdir()} | {"report.html"}


def test_a_probe_is_compared_with_a_cnn_that_learns_for_ten_epochs_and_more() -> None:
    from vitrail.data.registry import open_dataset
    from vitrail.train.baseline import _settings

    digits = open_dataset("digits", limit=20)
    probe = tiny(SMALL, "method.name=linear_probe", "schedule.epochs=1", "optim.lr=0")
    settings = _settings(probe, digits)
    assert settings.schedule.epochs == 10
    assert settings.method.name == "supervised"
    assert settings.optim.lr == 1e-3
    assert settings.train.baseline is None
    assert settings.train.seed == probe.train.seed
    assert settings.data == probe.data
    assert _settings(tiny(SMALL, "schedule.epochs=3"), digits).schedule.epochs == 3


def test_the_cnn_starts_from_the_seed_of_the_run() -> None:
    pytest.importorskip("timm")
    weights = []

    def build(*_arguments: object, model: TimmNetwork) -> NoReturn:
        weights.append(next(model.parameters()).detach().clone())
        raise ZeroDivisionError

    config = tiny(SMALL, "data.limit=20")
    datasets = open_datasets(config)
    preprocess = Preprocess((8, 8), None, mean=(0.3,), std=(0.4,))
    for _number in range(2):
        with pytest.raises(ZeroDivisionError):
            train_baseline(config, datasets, preprocess, build)
    assert torch.equal(*weights)


def test_a_name_that_timm_has_not_suggests_the_nearest() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match="'resnet81' is no model of timm. Did you mean resnet18"):
        check_baseline(tiny("train.baseline=resnet81"))


def test_without_timm_one_line_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match="needs the package timm: pip install timm$"):
        train_run(tiny(SMALL), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_failure_of_its_import_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError(f"{name} is broken")

    monkeypatch.setattr(timm_package.importlib, "import_module", fail)
    with pytest.raises(ConfigError, match=r"cannot be imported: .*timm is broken"):
        import_timm("this")


def test_what_timm_cannot_build_is_one_line() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match="cannot be built by timm for images of 3 channels"):
        TimmNetwork("no_such_model", 32, 3, 5)


@pytest.mark.slow
def test_timm_is_imported_where_torchvisions_compiled_part_does_not_load() -> None:
    pytest.importorskip("timm")
    code = (
        "from vitrail.train.timm_package import import_timm as i; i('x').create_model('resnet18')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
