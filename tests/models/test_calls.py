"""A call with another library's keyword, and what stays of `forward`."""

import inspect
from typing import Any

import pytest
import torch

from tests.models.small import images_for, small
from vitrail.errors import ConfigError
from vitrail.methods.mae import MAE


@pytest.mark.parametrize("name", ["ViT", "VisionMamba", "NaViT", "Swin"])
@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("output_attentions", "Attention weights are recorded by vitrail.record"),
        ("output_hidden_states", "model.intermediates"),
        ("pixel_values", "Here it is called 'images'"),
        ("imagse", "Did you mean 'images'"),
        ("unheard_of", r"not with unheard_of\.$"),
    ],
)
def test_an_unknown_keyword_has_one_line_with_the_hint(name: str, keyword: str, hint: str) -> None:
    model = small(name)
    with pytest.raises(ConfigError, match=hint) as problem:
        model(images_for(model), **{keyword: True})
    assert str(problem.value).startswith(f"{name} is called with images")


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda model, x: model(), "ViT is called with images: .*missing .*'images'"),
        (lambda model, x: model(x, x), "ViT is called with images: .*3 were given"),
        (lambda model, x: model.encode(x), "encode: features=.* is not a Features"),
        (lambda model, x: model.pool(None), "pool: features=None is not a Features"),
        (lambda model, x: model.normalize(x), "normalize: features=.* is not a Features"),
        (lambda model, x: model.make_head("5"), "make_head: num_classes='5' is not a whole"),
        (lambda model, x: model.require_whole_grid(x), "features=.* is not a Features"),
        (lambda model, x: model.weights_at(3), "other=3 is not a Backbone"),
        (lambda model, x: model.intermediates(x, [0], norm="yes"), "norm='yes' is not True"),
        (lambda model, x: model.set_gradient_checkpointing("no"), "enable='no' is not True"),
    ],
)
def test_methods_of_a_model_say_what_they_take(call: Any, line: str) -> None:
    model = small("ViT")
    with pytest.raises(ConfigError, match=line):
        call(model, images_for(model))


def test_methods_too() -> None:
    method = MAE(small("ViT"), decoder_dim=16, decoder_depth=1, decoder_heads=2)
    with pytest.raises(ConfigError, match="MAE is called with batch, not with mask_ratio"):
        method(torch.zeros(1, 3, 32, 32), mask_ratio=0.5)


def test_the_signature_stays_and_programs_are_made() -> None:
    model = small("ViT")
    images = images_for(model)
    assert list(inspect.signature(model.forward).parameters) == ["images"]
    calls: list[int] = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    logits = model(images=images)
    handle.remove()
    assert calls == [1]
    for program in (
        torch.compile(model, backend="eager", fullgraph=True),
        torch.export.export(model, (), {"images": images}, strict=True).module(),
    ):
        torch.testing.assert_close(program(images=images), logits)
