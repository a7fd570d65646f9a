"""Dropout and stochastic depth of every model: each rate arrives, each module is used."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.small import CASES, IDS, images_for, small
from vitrail.layers.attention import Attend
from vitrail.layers.block import DropPath
from vitrail.models.base import Backbone
from vitrail.models.registry import get_model_class

RATES = {"dropout": 0.25, "emb_dropout": 0.5, "drop_path": 0.4}


# Attention without dropout: the pooling of NaViT and of PatchMerger, as their authors have it.
NO_DROPOUT = {"NaViT": "attention_pool.mixer.attend", "PatchMergerViT": ".1.attend"}
# CaiT's and XCiT's code has the same rate in all blocks, and none in the class blocks.
CONSTANT = {"CaiT", "XCiT"}
# Vim's code has the rate of a layer one layer later.
SHIFTED = {"VisionMamba", "OfficialVisionMamba"}


def rates_of(name: str, more: dict[str, Any]) -> dict[str, float]:
    """The rates that a model has keywords for."""
    keywords = inspect.signature(get_model_class(name)).parameters
    return {keyword: rate for keyword, rate in RATES.items() if keyword in keywords}


def with_rate(keyword: str) -> Any:
    """The cases of models that have a keyword."""
    cases = [(case, i) for case, i in zip(CASES, IDS, strict=True) if keyword in rates_of(*case)]
    return pytest.mark.parametrize(
        ("name", "more"), [case for case, _ in cases], ids=[i for _, i in cases]
    )


def build(name: str, more: dict[str, Any], **rates: float) -> Backbone:
    """A small model with these rates and all other rates 0, in training mode."""
    none = dict.fromkeys(rates_of(name, more), 0.0)
    return small(name, **{**more, **none, **rates}).train()


class Spoil(nn.Module):
    """Stands in for a dropout: its output is not a number."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.nan


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts a module in the place of a submodule, wherever it is shared."""
    old = model.get_submodule(name)
    for parent in list(model.modules()):
        for key, child in list(parent.named_children()):
            if child is old:
                setattr(parent, key, module)


def assert_each_is_used(model: Backbone, names: list[str]) -> None:
    """Fails for a module whose output does not reach the logits."""
    images = images_for(model)
    for name in names:
        module = model.get_submodule(name)
        stand_in = Spoil()
        replace(model, name, stand_in)
        assert model(images).isnan().any(), f"the output of {name} is not used"
        for parent in list(model.modules()):
            for key, child in list(parent.named_children()):
                if child is stand_in:
                    setattr(parent, key, module)


@with_rate("dropout")
def test_dropout_is_everywhere(name: str, more: dict[str, Any]) -> None:
    model = build(name, more, dropout=0.25)
    dropouts = {n: m for n, m in model.named_modules() if isinstance(m, nn.Dropout) and m.p}
    attends = {n: m for n, m in model.named_modules() if isinstance(m, Attend)}
    assert dropouts
    assert {m.p for m in dropouts.values()} == {0.25}
    without = [n for n, m in attends.items() if m.dropout != 0.25]
    assert all(n.endswith(NO_DROPOUT.get(name, "-")) for n in without), "attention without dropout"
    assert_each_is_used(model, list(dropouts))


@with_rate("dropout")
def test_every_attention_drops_weights(name: str, more: dict[str, Any]) -> None:
    """In training, each one where it is the only dropout; in evaluation none does."""
    model = build(name, more, dropout=0.25).double()  # for CaiT, whose branches start at 1e-5
    attends = [m for m in model.modules() if isinstance(m, Attend) and m.dropout]
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert torch.equal(run(model.eval()), run(model, seed=1))
    for attend in attends:
        attend.dropout = 0.0
    without = run(model.train())
    assert torch.equal(without, run(model)), "something else is random"
    for attend in attends:
        attend.dropout = 0.5
        assert not torch.equal(run(model), without)
        attend.dropout = 0.0


def run(model: Backbone, seed: int = 0) -> Tensor:
    """Logits of the same images, with random draws from a seed."""
    images = images_for(model)
    torch.manual_seed(seed)
    return model(images.to(next(model.parameters()).dtype))


@with_rate("emb_dropout")
def test_dropout_of_the_embedding(name: str, more: dict[str, Any]) -> None:
    model = build(name, more, emb_dropout=0.5)
    dropouts = {n: m for n, m in model.named_modules() if isinstance(m, nn.Dropout) and m.p}
    assert {m.p for m in dropouts.values()} == {0.5}
    assert_each_is_used(model, list(dropouts))


@with_rate("drop_path")
def test_rates_of_stochastic_depth_rise_to_the_last_block(name: str, more: dict[str, Any]) -> None:
    model = build(name, more, drop_path=0.4)
    modules = {n: m for n, m in model.named_modules() if isinstance(m, DropPath)}
    rates = [m.rate for m in modules.values()]
    if more.get("form") == "factorised-encoder":  # two transformers, one after the other
        rates = sorted(rates)
    assert len(modules) >= model.depth
    if name in CONSTANT:
        assert set(rates) == {0.4, 0.0}
    else:
        assert rates == sorted(rates)
        assert rates[0] == 0 or name in SHIFTED
        assert max(rates) == pytest.approx(0.4) or name in SHIFTED
    dropped = [n for n, m in modules.items() if m.rate]
    assert_each_is_used(model, dropped)
