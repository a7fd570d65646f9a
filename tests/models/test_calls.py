"""A call with another library's keyword, and what stays of `forward`."""

import inspect

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
