"""Every method on every model: one step, or the error that the model's tier declares."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.small import small
from vitrail.errors import ConfigError, TierError
from vitrail.methods.base import Method, Pretraining
from vitrail.methods.registry import create_method, methods, settings_of
from vitrail.models.base import Backbone
from vitrail.models.registry import get_model_class, model_classes

BATCH = 4


def teacher(images: Tensor) -> Tensor:
    """Logits of five classes, from the colours alone."""
    return images.flatten(2).mean(2).repeat(1, 5)[:, :5]


class Codes:
    """Sixteen codes for the places of a model's grid."""

    vocabulary = 16

    def __init__(self, model: Backbone) -> None:
        model = model.eval()
        with torch.no_grad():
            like = torch.zeros(1, model.channels, *model.image_size)
            self.places = model.features(like).patches.shape[1]

    def __call__(self, images: Tensor) -> Tensor:
        return torch.randint(self.vocabulary, (len(images), self.places))


# What a method cannot do without, and what makes it small.
SETTINGS: dict[str, dict[str, Any]] = {
    "mae": {"decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2},
    "mpp": {"bits": 2},
    "dino": {"head_dim": 16, "hidden_dim": 24, "bottleneck_dim": 12},
    "distill": {"teacher": teacher},
}

# What of a model no loss on its patches reaches, by how the names begin: what only summarises them.
SUMMARISES: dict[str, tuple[str, ...]] = {
    "BEiT": ("pool_norm",),
    "CaiT": ("class_token", "class_blocks"),
    "CCT": ("sequence_pool",),
    "MaxViT": ("neck",),
    "MobileViT": ("last",),
    "NaViT": ("attention_pool",),
    "SigLIPViT": ("attention_pool",),
}
# What a loss on the prefix reaches after all.
PREFIX = {"CaiT"}

# Models that a method refuses beyond its tier, and what it says.
REFUSED = {
    ("linear_probe", model): "needs a model with one linear head"
    for model in ("DeiT", "LeViT", "ScalableViT")
}

CASES = [(method, model) for method in methods() for model in model_classes()]


def made(name: str, model: Backbone) -> Method:
    """The method, small."""
    settings = {k: v for k, v in SETTINGS.get(name, {}).items() if k in settings_of(name)}
    if name == "beit":
        settings["tokenizer"] = Codes(model)
    if name == "clip":
        from vitrail.data.text import Tokenizer

        settings["tokenizer"] = Tokenizer.train(["a photo of a cat", "a photo of a dog"], 64)
        settings |= {"embed_dim": 16, "text_dim": 16, "text_depth": 1, "text_heads": 2}
    return create_method(name, model, **settings)


def batch(method: Method) -> tuple[Any, Tensor]:
    """Images as `method.views` says, and targets."""
    backbone = method.backbone
    images = torch.randn(BATCH, backbone.channels, *backbone.image_size)
    if method.views == "crops":
        return [images, images.flip(-1), images.roll(1, -1)], torch.zeros(BATCH).long()
    if method.views == "text":
        return images, method.tokenizer(["a cat", "a dog", "a photo", "cat"])
    return images, torch.arange(BATCH)


@pytest.mark.parametrize(("name", "model"), CASES, ids=["-".join(case) for case in CASES])
def test_a_step_or_the_declared_error(name: str, model: str) -> None:
    wanted = methods()[name].tier
    if not issubclass(get_model_class(model), wanted):
        with pytest.raises(TierError, match=f"needs a .*{model} is none"):
            made(name, small(model))
        return
    backbone = small(model)
    if (name, model) in REFUSED:
        with pytest.raises(ConfigError, match=REFUSED[name, model]):
            made(name, backbone)
        return
    method = made(name, backbone).train()
    if name == "linear_probe":  # it learns from features that were computed once
        images, targets = torch.randn(BATCH, backbone.pooled_dim), torch.arange(BATCH)
    else:
        images, targets = batch(method)
    method.before_step(0.5)
    loss, metrics = method(images, targets)
    assert loss.shape == () and loss.isfinite()
    assert all(value.isfinite().all() and not value.requires_grad for value in metrics.values())
    loss.backward()
    method.after_step()
    silent = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)
    if isinstance(method, Pretraining):
        frozen = {n for n, p in backbone.named_parameters() if not p.requires_grad}
        told = SUMMARISES.get(model, ())
        if method.reads in ("pooled", "all") or (method.reads == "tokens" and model in PREFIX):
            told = ()
        assert {n.split(".")[0] for n in frozen} == set(told)
