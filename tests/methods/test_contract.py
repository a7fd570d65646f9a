"""Every method on every model: one step, or the error that the model's tier declares."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.small import small
from vitrail.errors import ConfigError, TierError
from vitrail.methods.base import Batch, Method
from vitrail.methods.registry import create_method, get_method, list_methods, settings_of
from vitrail.models.base import Backbone
from vitrail.models.registry import get_model_class, model_classes

BATCH = 4


def teacher(images: Tensor) -> Tensor:
    """Logits of five classes, from the colors alone."""
    return images.flatten(2).mean(2).repeat(1, 5)[:, :5]


class Codes:
    """Sixteen codes for the patches of a model's grid."""

    vocabulary = 16

    def __init__(self, model: Backbone) -> None:
        model = model.eval()
        with torch.no_grad():
            like = torch.zeros(1, model.channels, *model.image_size)
            self.patches = model.features(like).patches.shape[1]

    def __call__(self, images: Tensor) -> Tensor:
        return torch.randint(self.vocabulary, (len(images), self.patches))


# Required settings, and those that make a method small.
SETTINGS: dict[str, dict[str, Any]] = {
    "mae": {"decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2},
    "mpp": {"bits": 2},
    "dino": {"out_dim": 64, "head_dims": (24, 12)},
    "distill": {"teacher": teacher},
    "clip": {"embed_dim": 16, "text_dim": 16, "text_depth": 1, "text_heads": 2},
}

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
# Models whose summaries a loss on the prefix reaches.
PREFIX = {"CaiT"}

# Models that a method refuses beyond its tier, and what it says.
REFUSED = {
    ("linear_probe", model): "needs a model with one linear head"
    for model in ("CrossViT", "DeiT", "LeViT", "ScalableViT")
}

CASES = [(method, model) for method in list_methods() for model in model_classes()]


def build(name: str, model: Backbone) -> Method:
    """The method, small."""
    settings = dict(SETTINGS.get(name, {}))
    if name == "beit":
        settings["tokenizer"] = Codes(model)
    if name == "clip":
        from vitrail.data.text import Tokenizer

        settings["tokenizer"] = Tokenizer.train(["a photo of a cat", "a photo of a dog"], 64)
    assert settings.keys() <= settings_of(name).keys(), "a setting that the method does not have"
    return create_method(name, model, **settings)


def batch_for(method: Method) -> Batch:
    """A batch with the fields that `method.inputs` names."""
    backbone = method.backbone
    images = torch.randn(BATCH, backbone.channels, *backbone.image_size)
    fields: dict[str, Any] = {
        "images": images,
        "crops": (images, images.flip(-1), images.roll(1, -1)),
        "labels": torch.arange(BATCH),
        "features": torch.randn(BATCH, backbone.pooled_dim),
    }
    if "captions" in method.inputs:
        fields["captions"] = method.tokenizer(["a cat", "a dog", "a photo", "cat"])
    return Batch(**{name: fields[name] for name in method.inputs})


@pytest.mark.parametrize(("name", "model"), CASES, ids=["-".join(case) for case in CASES])
def test_a_step_or_the_declared_error(name: str, model: str) -> None:
    if not issubclass(get_model_class(model), get_method(name).tier):
        with pytest.raises(TierError, match=f"needs a .*{model} is none"):
            build(name, small(model))
        return
    backbone = small(model)
    if (name, model) in REFUSED:
        with pytest.raises(ConfigError, match=REFUSED[name, model]):
            build(name, backbone)
        return
    method = build(name, backbone).train()
    method.before_step(0.5)
    loss, metrics = method(batch_for(method))
    assert loss.shape == () and loss.isfinite()
    assert all(value.isfinite().all() and not value.requires_grad for value in metrics.values())
    loss.backward()
    method.after_step()
    assert not [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)
    if reads := getattr(method, "reads", None):
        frozen = {n for n, p in backbone.named_parameters() if not p.requires_grad}
        unreached = SUMMARIES.get(model, ())
        if reads in ("pooled", "all") or (reads == "tokens" and model in PREFIX):
            unreached = ()
        assert {n.split(".")[0] for n in frozen} == set(unreached)
