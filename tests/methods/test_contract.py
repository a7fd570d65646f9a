"""Every method on every model: one step, or the error that the model's tier declares."""

import pytest

from tests.models.small import small
from vitrail.contract.checks import Check
from vitrail.contract.methods import METHOD_CHECKS, MethodCase, make_step, small_method
from vitrail.errors import ConfigError, TierError
from vitrail.methods.registry import get_method, list_methods
from vitrail.models.registry import get_model_class, model_classes

# Submodules of a model that a loss on its patches cannot reach, because they summarize patches.
SUMMARIES: dict[str, tuple[str, ...]] = {
    "BEiT": ("pool_norm",),
    "CaiT": ("class_token", "class_blocks"),
    "CCT": ("sequence_pool",),
    "MaxViT": ("neck",),
    "MobileViT": ("last",),
    "NaViT": ("attention_pool",),
    "SigLIPViT": ("attention_pool",),
}
# What a method itself leaves out of training.
UNTRAINED = {"mp3": {"position"}}
# Models whose summaries a loss on the prefix reaches.
PREFIX = {"CaiT"}

# Models that a method refuses beyond its tier, and what it says.
REFUSED = {
    ("linear_probe", model): "needs a model with one linear head"
    for model in ("CrossViT", "DeiT", "LeViT", "ScalableViT")
}

CASES = [(method, model) for method in list_methods() for model in model_classes()]


@pytest.mark.parametrize(("name", "model"), CASES, ids=["-".join(case) for case in CASES])
def test_a_step_or_the_declared_error(name: str, model: str) -> None:
    if not issubclass(get_model_class(model), get_method(name).tier):
        with pytest.raises(TierError, match=f"needs a .*{model} is none"):
            small_method(name, small(model))
        return
    backbone = small(model)
    if (name, model) in REFUSED:
        with pytest.raises(ConfigError, match=REFUSED[name, model]):
            small_method(name, backbone)
        return
    method = small_method(name, backbone).train()
    make_step(method)
    if reads := getattr(method, "reads", None):
        frozen = {n for n, p in backbone.named_parameters() if not p.requires_grad}
        unreached = SUMMARIES.get(model, ())
        if reads in ("pooled", "all") or (reads == "tokens" and model in PREFIX):
            unreached = ()
        assert {n.split(".")[0] for n in frozen} == {*unreached, *UNTRAINED.get(name, ())}


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("name", list_methods())
def test_every_method_keeps_the_contract(check: Check, name: str) -> None:
    check.run(MethodCase(name))
