"""Several processes evaluate together: each sample once, and the figures of one process."""

from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from tests.train.processes import in_processes
from tests.train.tiny import tiny
from vitrail.methods import distributed
from vitrail.run_folder import RunFolder
from vitrail.train.data_factory import open_datasets
from vitrail.train.factory import build_trainer, train_run

METHODS = {
    "supervised": "{name: supervised}",  # its own classifier
    "simmim": "{name: simmim}",  # k-NN, and a loss whose masks are drawn
    "linear_probe": "{name: linear_probe}",  # features that are computed once
}


def evaluate(method: str) -> dict[str, Any]:
    """Figures and predictions of 285 images in batches of 64: five, the last of 29."""
    config = tiny(f"method={method}", "optim.ema=0", "data.limit=60", "data.batch_size=24")
    trainer, evaluator = build_trainer(config, RunFolder("unused"), open_datasets(config))
    forwards = []
    trainer.method.backbone.blocks[0].register_forward_hook(lambda *_: forwards.append(1))
    figures = evaluator.figures(trainer.result_method, trainer.backbone)
    result = evaluator(trainer.result_method, trainer.backbone)
    assert result is not None
    return {
        "figures": figures,
        "final": result.figures,
        "rows": [getattr(result, name) for name in ("probabilities", "targets", "indices")],
        "forwards": len(forwards),
        "processes": distributed.world_size(),
    }


def evaluate_all() -> dict[str, dict[str, Any]]:
    return {name: evaluate(method) for name, method in METHODS.items()}


def check(processes: int) -> None:
    alone = evaluate_all()
    for results in in_processes(processes, evaluate_all):
        for name, result in results.items():
            assert result["processes"] == processes
            assert result["figures"] == alone[name]["figures"]
            assert result["final"] == alone[name]["final"]
            for rows, expected in zip(result["rows"], alone[name]["rows"], strict=True):
                assert torch.equal(rows, expected), name
            assert result["rows"][2].sort().values.tolist() == list(range(285))
            if name != "linear_probe":
                assert result["forwards"] < 0.8 * alone[name]["forwards"], "it is shared"


def test_two_processes_have_the_figures_of_one() -> None:
    check(2)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [3, 4])
def test_several_processes_have_the_figures_of_one(processes: int) -> None:
    check(processes)


def evaluate_run(folder: Path) -> dict[str, dict[str, float]]:
    """`vitrail eval` by the model's own head, by k-NN, and by cross-validation."""
    options: list[dict[str, Any]] = [
        {"data": "digits"},
        {"probe": "knn"},
        {"folds": 2, "probe": "linear"},
    ]
    return {
        str(option): vitrail.evaluate(
            folder, **{"data": "digits", **option}, limit=90, batch_size=32
        ).figures
        for option in options
    }


@pytest.mark.slow
def test_the_command_shares_its_work(tmp_path: Path) -> None:
    train(tmp_path / "run")
    alone = evaluate_run(tmp_path / "run")
    assert in_processes(2, evaluate_run, tmp_path / "run") == [alone, alone]


def train(folder: Path, *settings: str) -> dict[str, Any]:
    return train_run(tiny("schedule.epochs=1", "data.limit=100", *settings), folder)


@pytest.mark.parametrize("sharding", ["null", "fsdp"])
def test_a_run_of_two_processes_ends_as_one_of_one(tmp_path: Path, sharding: str) -> None:
    plain = ("model.options.dropout=0", "model.options.drop_path=0", "data.augment={crop: none}")
    settings = (*plain, "data.augment.flip=0", f"train.sharding={sharding}")
    alone = train(tmp_path / "alone", *settings)
    first, second = in_processes(2, train, tmp_path / "two", *settings)
    assert second == {}, "only the first process has figures"
    assert first.keys() == alone.keys()
    assert first["count"] == alone["count"] == 355
    assert first["loss"] == pytest.approx(alone["loss"], rel=1e-4)
    one, two = (RunFolder(tmp_path / name) for name in ("alone", "two"))
    assert [line["split"] for line in one.metrics] == [line["split"] for line in two.metrics]
    for line, other in zip(one.metrics, two.metrics, strict=True):
        assert other["loss"] == pytest.approx(line["loss"], rel=1e-4)
    assert (two.model_folder / "manifest.json").is_file()
    shards = [p.name for p in two.checkpoints[-1].glob("shard-*")]
    assert len(shards) == (2 if sharding == "fsdp" else 0)
