"""Optimizers beside AdamW: they learn, and a run goes on with them to the byte."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.models.small import small
from tests.train.tiny import RaiseAt, tiny
from vitrail.errors import ConfigError
from vitrail.hub.load import load
from vitrail.methods.linear_probe import LinearProbe
from vitrail.methods.supervised import Supervised
from vitrail.run_folder import RunFolder
from vitrail.train.data_factory import open_datasets
from vitrail.train.factory import build_trainer, train_run
from vitrail.train.optim import build_optimizer, parameter_groups
from vitrail.train.optimizers import Muon


@pytest.mark.parametrize("name", ["sgd", "adafactor", "muon", "lamb"])
def test_a_run_that_was_cut_ends_with_the_same_bytes(tmp_path: Path, name: str) -> None:
    if name == "lamb":
        pytest.importorskip("timm")
    config = tiny(f"optim.optimizer={name}", "data.limit=64", "train.save_every=1")
    train_run(config, tmp_path / "whole")
    with pytest.raises(ZeroDivisionError):
        train_run(config, tmp_path / "cut", callbacks=[RaiseAt(3)])
    train_run(config, tmp_path / "cut", resume=True)
    digests = [
        hashlib.sha256((RunFolder(tmp_path / run).model_folder / "model.safetensors").read_bytes())
        for run in ("whole", "cut")
    ]
    assert digests[0].digest() == digests[1].digest()


def test_muon_takes_the_matrices_of_blocks_and_adamw_the_rest() -> None:
    method = Supervised(small("ViT"))
    optimizer = build_optimizer("muon", parameter_groups(method, lr=0.1, weight_decay=0.05))
    assert isinstance(optimizer, Muon)
    matrices, rest = optimizer.parts
    names = {id(p): name for name, p in method.named_parameters()}
    inside = {names[id(p)] for group in matrices.param_groups for p in group["params"]}
    assert inside == {
        f"backbone.{name}.weight"
        for name, module in method.backbone.named_modules()
        if isinstance(module, nn.Linear) and name.startswith("blocks.")
    }
    outside = {names[id(p)] for group in rest.param_groups for p in group["params"]}
    assert inside | outside == set(names.values())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    for parameter in method.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()  # the groups are those of both parts
    for name, parameter in method.named_parameters():
        assert torch.equal(parameter, before[name])


def test_muon_without_matrices_is_refused() -> None:
    groups = parameter_groups(LinearProbe(small("ViT")), lr=0.1, weight_decay=0)
    with pytest.raises(ConfigError, match="matrices of blocks, and none is trained: use 'adamw'"):
        build_optimizer("muon", groups)


def test_a_gradient_is_not_clipped_without_a_limit(tmp_path: Path) -> None:
    config = ("data.limit=64", "optim.optimizer=sgd", "schedule.epochs=1", "train.log_every=1")
    for clip in ("1e-6", "1e6", "null"):
        train_run(tiny(*config, f"optim.clip={clip}"), tmp_path / clip)
    losses = {c: RunFolder(tmp_path / c).metrics for c in ("1e-6", "1e6", "null")}
    assert losses["null"] == losses["1e6"] != losses["1e-6"]


def test_channels_last_changes_where_weights_lie_and_not_what_they_learn(tmp_path: Path) -> None:
    model = "model={name: CCT, options: {image_size: 8, dim: 16, depth: 1, heads: 2, mlp_dim: 16}}"
    config = (model, "data.limit=32", "optim.optimizer=sgd", "schedule.epochs=1", "optim.ema=0")
    runs = [tmp_path / name for name in ("usual", "last")]
    for run, value in zip(runs, ("false", "true"), strict=True):
        train_run(tiny(*config, f"train.channels_last={value}"), run)
    usual, last = (load(run) for run in runs)
    settings = tiny(*config, "train.channels_last=true")
    trainer, _ = build_trainer(settings, RunFolder("unused"), open_datasets(settings))
    kernels = [p for p in trainer.method.parameters() if p.ndim == 4]
    assert kernels
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    for (name, a), b in zip(usual.named_parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0, msg=name)


@pytest.mark.slow
def test_a_compiled_method_learns_the_same(tmp_path: Path) -> None:
    no_draws = ("model.options.dropout=0", "model.options.drop_path=0")  # they differ when compiled
    config = (*no_draws, "data.limit=64", "optim.optimizer=sgd", "schedule.epochs=1")
    for value in ("false", "true"):
        train_run(tiny(*config, f"train.compile={value}"), tmp_path / value)
    usual, compiled = (
        [line["loss"] for line in RunFolder(tmp_path / name).metrics] for name in ("false", "true")
    )
    assert compiled == pytest.approx(usual, abs=1e-4)
    weights = [load(tmp_path / value).state_dict() for value in ("false", "true")]
    assert list(weights[0]) == list(weights[1])  # as they are called without compilation
