"""The parts of training: groups, schedule, average, settings, seeds, checkpoints."""

import itertools
import json
from pathlib import Path

import pytest
import torch

import vitrail
from tests.models.small import small
from tests.train.tiny import tiny
from vitrail.errors import ConfigError, TierError, TrainingError
from vitrail.methods.base import Method
from vitrail.methods.linear_probe import LinearProbe
from vitrail.methods.supervised import Supervised
from vitrail.models.base import Backbone
from vitrail.models.tiers import SequenceBackbone
from vitrail.train import checkpoint, trainer
from vitrail.train.config import make_config, read_config
from vitrail.train.factory import mixed_seed
from vitrail.train.optim import average, parameter_groups
from vitrail.train.schedule import cosine


def test_vectors_tokens_and_positions_do_not_decay() -> None:
    model = small("ViT", registers=2, layer_scale=0.1)
    names = {id(p): n for n, p in model.named_parameters()}
    groups = parameter_groups(Supervised(model), lr=0.1, weight_decay=0.05, layer_decay=1.0)
    assert len(groups) == 2
    decayed = {names[id(p)] for g in groups if g["weight_decay"] for p in g["params"]}
    assert decayed == {n for n in names.values() if n.endswith(".weight") and "norm" not in n}
    assert sum(len(g["params"]) for g in groups) == len(names)


def test_lower_layers_learn_slower() -> None:
    model = small("ViT")
    groups = parameter_groups(Supervised(model), lr=1.0, weight_decay=0.05, layer_decay=0.5)
    names = {id(p): n for n, p in model.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            distance = model.depth + 1 - model.layer_of(names[id(parameter)])
            assert group["lr"] == group["scale"] == 0.5**distance
    model.freeze()
    assert {
        names[id(p)] for g in parameter_groups(Supervised(model), 1, 0, 1) for p in g["params"]
    } == {
        "head.weight",
        "head.bias",
    }


def test_the_schedule_warms_up_and_falls_as_a_cosine() -> None:
    rates = [cosine(step, 100, 0.1, 0.01) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.505)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert cosine(0, 10, 0.0, 0.0) == 1.0


def test_the_average_is_the_formula() -> None:
    model = small("ViT")
    averaged = average(model, 0.9)
    expected, weight = None, model.head.weight
    for update in range(30):
        with torch.no_grad():
            weight.add_(torch.randn_like(weight))
        averaged.update_parameters(model)
        decay = min(0.9, (1 + update) / (10 + update))
        new = weight.detach().clone()
        expected = new if expected is None else decay * expected + (1 - decay) * new
    torch.testing.assert_close(averaged.module.head.weight, expected)


def test_overrides_are_typed_and_strict() -> None:
    run = make_config({}, ["optim.lr=3e-4", "data.source=folder:a=b", "model.options.dim=64"])
    assert (run.optim.lr, run.data.source, run.model.options) == (3e-4, "folder:a=b", {"dim": 64})
    assert make_config({}, ["data.views={flip: 0.1}"]).data.views.flip == 0.1
    assert make_config({"data": {"views": {"crop": "padded"}}}).data.views.crop == "padded"
    with pytest.raises(ConfigError, match="has no '='"):
        make_config({}, ["optim.lr"])
    with pytest.raises(ConfigError, match="no setting 'optm'. Did you mean 'optim'"):
        make_config({}, ["optm.lr=1"])


def test_seeds_of_neighbours_are_far_apart() -> None:
    seeds = {mixed_seed(a, b, c) for a in range(8) for b in range(8) for c in range(8)}
    assert len(seeds) == 512
    assert mixed_seed(1, 2) == mixed_seed(1, 2) != mixed_seed(2, 1)
    assert all(0 <= seed < 2**63 for seed in seeds)


class Dropping(Method):
    """Needs patches that may be dropped."""

    tier = (SequenceBackbone,)


def test_a_method_says_which_models_it_cannot_train() -> None:
    class PlainViT(Backbone):
        pass

    with pytest.raises(
        TierError, match="Dropping needs a SequenceBackbone model, and PlainViT is none"
    ):
        Dropping(PlainViT(8, 3, 2))
    assert Dropping(small("SimpleViT")).backbone.num_classes == 5
    with pytest.raises(ConfigError, match="one linear head"):
        LinearProbe(small("DeiT"))


def test_label_smoothing_and_soft_targets_are_cross_entropies() -> None:
    model = small("ViT").double()
    images, labels = torch.randn(4, 3, 32, 32, dtype=torch.double), torch.tensor([0, 1, 2, 3])
    hard = Supervised(model, label_smoothing=0.1)(images, labels)
    logs = model(images).log_softmax(1)
    smooth = torch.nn.functional.one_hot(labels, 5) * 0.9 + 0.1 / 5
    torch.testing.assert_close(hard.loss, -(smooth * logs).sum(1).mean())
    soft = Supervised(model, 0.0)(images, smooth.double())
    torch.testing.assert_close(soft.loss, hard.loss)
    assert set(hard.metrics) == {"top1"}
    assert soft.metrics == {}


def test_the_newest_whole_checkpoint_counts(tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer.train(tiny("schedule.epochs=1"), run)
    whole = checkpoint.folders(run)
    assert [p.name for p in whole] == ["step-00000010", "step-00000012"]
    (run / "checkpoints" / "step-00000099.writing").mkdir()
    assert checkpoint.folders(run) == whole
    state = json.loads((whole[-1] / "state.json").read_text())
    assert state["step"] == 12
    assert state["metrics_bytes"] == (run / "metrics.jsonl").stat().st_size
    assert not [p for p in run.rglob("*") if p.suffix in (".pt", ".pth", ".bin", ".pkl")]
    with pytest.raises(TrainingError, match="no checkpoint to resume from"):
        checkpoint.load(tmp_path, None)  # type: ignore[arg-type]


def test_weights_go_on_with_their_head_where_the_classes_are_the_same(tmp_path: Path) -> None:
    trainer.train(tiny("schedule.epochs=1"), tmp_path / "base")
    more = (f"model.weights={tmp_path / 'base'}", "model.options={}", "schedule.epochs=1")
    trainer.train(tiny(*more, "optim.lr=1e-12", "optim.ema=0"), tmp_path / "more")
    base, again = vitrail.load(tmp_path / "base"), vitrail.load(tmp_path / "more")
    torch.testing.assert_close(base.head.weight, again.head.weight, atol=1e-6, rtol=0)
    with pytest.raises(ConfigError, match="model.options.dim cannot change weights that exist"):
        trainer.train(tiny(*more, "model.options={dim: 3}"), tmp_path / "other")


def test_a_recipe_may_stand_on_another(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("optim: {lr: 0.5, clip: 2}\nmodel: {name: ViT}\n")
    (tmp_path / "zoo").mkdir()
    recipe = tmp_path / "zoo" / "mine.yaml"
    recipe.write_text("base: ../base.yaml\noptim: {lr: 0.25}\n")
    run = read_config(recipe, ["optim.clip=3"])
    assert (run.optim.lr, run.optim.clip, run.model.name) == (0.25, 3, "ViT")
    recipe.write_text("base: mine.yaml\n")
    with pytest.raises(ConfigError, match="is this file itself"):
        read_config(recipe)
    recipe.write_text("base: nowhere.yaml\n")
    with pytest.raises(ConfigError, match="nowhere.yaml: cannot be read"):
        read_config(recipe)
