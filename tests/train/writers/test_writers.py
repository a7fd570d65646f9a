"""One interface: what a run says arrives in every program that shows runs."""

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train.tiny import tiny
from vitrail.errors import ConfigError
from vitrail.lens.health import HealthWarning, Measures
from vitrail.run_folder import RunFolder
from vitrail.train.data_factory import open_datasets
from vitrail.train.factory import build_trainer, train_run
from vitrail.train.writers.base import Writer, Writers
from vitrail.train.writers.factory import build_writers
from vitrail.train.writers.files import FileWriter
from vitrail.train.writers.mlflow import MlflowWriter
from vitrail.train.writers.tensorboard import TensorBoardWriter
from vitrail.train.writers.wandb import WandbWriter

MEASURES: Measures = {"dead_units": {"block 0": 0.5}, "attention_entropy": {"block 0": [0.1, 0.2]}}
WARNING = HealthWarning(20, "head_to_self", "block 4", 2, 10, 0.99)
SENTENCE = "block 4, head 2 has looked only at itself since step 10."
PIXELS = np.full((4, 6, 3), 77, np.uint8)


def record(writer: Writer) -> None:
    """All that a run can say."""
    writer.open(0)
    writer.settings({"optim.lr": 0.001, "model.name": "ViT", "model.weights": None})
    writer.scalars(10, "train", {"loss": 0.5})
    writer.measures(10, MEASURES)
    writer.warning(WARNING)
    writer.text(20, "note", "<b>lower</b> the rate")
    writer.image(20, "attention", PIXELS)
    writer.close()
    writer.open(20)
    writer.scalars(20, "test", {"top1": 0.9})
    writer.close()


def test_files_hold_lines_and_pictures(tmp_path: Path) -> None:
    from PIL import Image

    run = RunFolder(tmp_path)
    record(FileWriter(run))
    assert run.metrics == [
        {"step": 10, "split": "train", "loss": 0.5},
        {"step": 20, "split": "test", "top1": 0.9},
    ]
    assert run.health == [
        {
            "step": 10,
            "measures": {"dead_units": {"block 0": 0.5}},
            "heads": {"attention_entropy": {"block 0": [0.1, 0.2]}},
        },
        {**WARNING._asdict(), "text": SENTENCE},
    ]
    with Image.open(run.logged_image("attention", 20)) as image:
        assert np.array_equal(np.asarray(image), PIXELS)


def test_tensorboard_has_curves_settings_text_and_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    run = RunFolder(tmp_path)
    record(TensorBoardWriter(run))
    events = EventAccumulator(str(run.tensorboard_folder)).Reload()
    assert set(events.Tags()["scalars"]) == {
        "train/loss", "test/top1", "health/dead_units/block 0",
        "health/attention_entropy/block 0/head 0", "health/attention_entropy/block 0/head 1",
    }  # fmt: skip
    (loss,) = events.Scalars("train/loss")
    assert (loss.step, loss.value) == (10, 0.5)
    (note,) = events.Tensors("note/text_summary")
    assert note.tensor_proto.string_val == [b"<b>lower</b> the rate"]
    (warning,) = events.Tensors("warning/text_summary")
    assert warning.tensor_proto.string_val == [SENTENCE.encode()]
    (picture,) = events.Images("attention")
    assert (picture.step, picture.width, picture.height) == (20, 6, 4)
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["optim.lr"].number_value == 0.001
    assert settings["model.weights"].string_value == "None"


def test_mlflow_has_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    run, first = RunFolder(tmp_path / "pets"), MlflowWriter(RunFolder(tmp_path / "pets"))
    record(first)
    other = MlflowWriter(run)  # a run that is resumed
    other.load_state(first.state())
    record(other)
    client = tracking.MlflowClient(run.mlflow_folder.as_uri())
    experiment = client.get_experiment_by_name("vitrail")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "pets"
    assert found.info.status == "FINISHED"
    assert found.data.params == {
        "optim.lr": "0.001", "model.name": "ViT", "model.weights": "None",
    }  # fmt: skip
    history = client.get_metric_history(
        found.info.run_id, "health/attention_entropy/block 0/head 1"
    )
    assert [(point.step, point.value) for point in history] == [(10, 0.2)] * 2
    assert client.get_run(found.info.run_id).data.metrics["test/top1"] == 0.9
    notes = Path(client.download_artifacts(found.info.run_id, "notes.txt")).read_text()
    assert notes.splitlines()[0] == f"20\twarning\t{SENTENCE}"
    assert [a.path for a in client.list_artifacts(found.info.run_id, "images")]


class FakeRun:
    """A run of Weights & Biases that keeps what it is given."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options, self.id = options, options["id"] or "abc"
        self.config: dict[str, Any] = {}
        self.lines: list[tuple[int, dict[str, Any]]] = []
        self.finished = False

    def log(self, values: dict[str, Any], step: int) -> None:
        self.lines.append((step, values))

    def finish(self) -> None:
        self.finished = True


class Config(dict[str, Any]):
    def update(self, values: Any, allow_val_change: bool = False) -> None:  # type: ignore[override]
        assert allow_val_change
        super().update(values)


def test_weights_and_biases_runs_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real package is heavy; its own calls were tried by hand, these are those."""
    runs: list[FakeRun] = []

    def init(**options: Any) -> FakeRun:
        runs.append(FakeRun(options))
        runs[-1].config = Config()
        return runs[-1]

    fake = types.SimpleNamespace(init=init, Html=str, Image=lambda pixels: pixels)
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    record(WandbWriter(RunFolder(tmp_path / "pets")))
    first, second = runs
    assert first.options == {
        "project": "vitrail", "name": "pets", "dir": str(tmp_path / "pets"), "mode": "offline",
        "resume": "allow", "id": None,
    }  # fmt: skip
    assert second.options["id"] == "abc"
    assert first.finished
    assert first.config["optim.lr"] == 0.001
    assert first.lines[0] == (10, {"train/loss": 0.5})
    assert (20, {"warning": f"<p>{SENTENCE}</p>"}) in first.lines
    assert (20, {"note": "<p>&lt;b&gt;lower&lt;/b&gt; the rate</p>"}) in first.lines


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_the_real_package_takes_it(tmp_path: Path) -> None:
    record(WandbWriter(RunFolder(tmp_path)))
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) >= 1


def test_a_run_records_its_test_figures_and_settings(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    figures = train_run(tiny(), tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    assert run.metrics[-1]["split"] == "test"
    assert run.metrics[-1]["top1"] == figures["top1"]
    events = EventAccumulator(str(run.tensorboard_folder)).Reload()
    (top1,) = events.Scalars("test/top1")
    assert top1.value == pytest.approx(figures["top1"])
    assert top1.step == 24
    assert events.SummaryMetadata("_hparams_/session_start_info")


def test_a_setting_without_its_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mlflow" else real(name)
    )
    with pytest.raises(ConfigError, match="needs the package mlflow: pip install mlflow-skinny"):
        train_run(tiny("train.mlflow=true"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_settings_choose_the_writers(tmp_path: Path) -> None:
    config = tiny("train.mlflow=true", "train.wandb=true").train
    kinds = [type(writer) for writer in build_writers(RunFolder(tmp_path), config).writers]
    assert kinds == [FileWriter, TensorBoardWriter, WandbWriter, MlflowWriter]


def test_the_state_of_each_writer_is_its_own(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    writers = Writers([FileWriter(run), MlflowWriter(run)])
    writers.writers[0].open(0)
    writers.writers[0].scalars(1, "train", {"loss": 1.0})
    state = json.loads(json.dumps(writers.state()))
    assert state["FileWriter"]["lengths"] == {
        "metrics": len(run.metrics_file.read_bytes()), "monitor": 0,
    }  # fmt: skip
    writers.writers[0].close()
    later = Writers([FileWriter(run), MlflowWriter(run)])
    later.load_state({**state, "MlflowWriter": {"id": "7"}})
    assert later.writers[1].state() == {"id": "7"}
    run.metrics_file.write_bytes(run.metrics_file.read_bytes() + b'{"step": 2}\n')
    later.writers[0].open(0)
    assert len(run.metrics) == 1  # what came after the checkpoint is written anew
    later.writers[0].close()


def test_lines_of_a_checkpoint_without_lengths_stay(tmp_path: Path) -> None:
    """Of a run of an older version, whose log kept its state elsewhere."""
    run = RunFolder(tmp_path)
    run.metrics_file.write_text('{"step": 1, "split": "train"}\n')
    writer = FileWriter(run)
    writer.load_state({})
    writer.open(1)
    writer.close()
    assert len(run.metrics) == 1


def test_metrics_that_are_shorter_than_at_the_checkpoint_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny()
    trainer, _ = build_trainer(config, RunFolder(tmp_path), open_datasets(config))
    log = trainer.callbacks[1]
    log.load_state({"FileWriter": {"lengths": {"metrics": 99, "monitor": 0}}})
    log.start(trainer)
    log.close(trainer)
    assert "metrics.jsonl lacks lines" in capsys.readouterr().err
