"""Explanations by name: Vitrail's are what the trace holds, and others may be added."""

import pytest
import torch
from torch import Tensor

import vitrail
from tests.models.small import images_for, small
from vitrail.errors import ConfigError, TierError
from vitrail.lens.explanations import EXPLANATIONS, explain, register_explanation
from vitrail.lens.trace import trace_attention


def test_the_built_in_ones_are_of_the_trace() -> None:
    model = small("ViT")
    images = images_for(model)
    trace = trace_attention(model, images)
    assert torch.equal(explain(model, images), trace.rollout)
    for layer in (0, -1):
        maps = explain(model, images, "attention", layer=layer)
        torch.testing.assert_close(maps, trace.attention[layer].mean(1))
    assert {"attention", "rollout"} < set(EXPLANATIONS.names())
    with pytest.raises(ConfigError, match="layer=7: this model has attention layers 0 to 2"):
        explain(model, images, "attention", layer=7)
    with pytest.raises(
        ConfigError, match="'attention' has no keyword 'layr'. Did you mean 'layer'"
    ):
        explain(model, images, "attention", layr=7)
    with pytest.raises(TierError):
        explain(small("Swin"), torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("name", ["relevance", "attention_gradient", "grad_cam", "rollout"])
def test_they_are_the_same_in_inference_mode_and_of_a_compiled_model(name: str) -> None:
    model = small("ViT")
    images = images_for(model)
    expected = explain(model, images, name)
    with torch.inference_mode():
        torch.testing.assert_close(explain(model, images * 1.0, name), expected)
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(explain(compiled, images, name), expected)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no images to explain: give one"):
        explain(model, images[:0], name)


@pytest.mark.parametrize("name", ["relevance", "attention_gradient", "grad_cam", "rollout"])
def test_a_scan_is_explained_in_half_precision(name: str) -> None:
    model = small("VisionMamba").bfloat16()
    assert explain(model, images_for(model).bfloat16(), name).isfinite().all()


def test_one_of_ones_own() -> None:
    @register_explanation("saliency")
    def saliency(model: vitrail.Backbone, images: Tensor) -> Tensor:
        images = images.requires_grad_()
        (gradient,) = torch.autograd.grad(model(images).amax(1).sum(), images)
        return gradient.abs().amax(1)

    model = small("ViT")
    maps = explain(model, images_for(model), "saliency")
    assert maps.shape == (2, 32, 32) and not maps.requires_grad
    with pytest.raises(ConfigError, match="no explanation 'salience'. Did you mean 'saliency'"):
        explain(model, images_for(model), "salience")


@pytest.mark.parametrize("wrong", [torch.zeros(2), torch.zeros(1, 4, 4), [1, 2]])
def test_what_is_no_map_is_named(wrong: object) -> None:
    register_explanation("wrong")(lambda model, images: wrong)  # type: ignore[arg-type, return-value]
    model = small("ViT")
    with pytest.raises(
        ConfigError, match="'wrong' returns .*: return a tensor of 2 maps with 2 ax"
    ):
        explain(model, images_for(model), "wrong")


def test_they_are_drawn_beside_the_image() -> None:
    from vitrail.lens.figures import panel_figure
    from vitrail.lens.plots import explanation_panels

    image = torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8)
    ((first, second),) = explanation_panels(image, torch.eye(4), "saliency")
    assert (first.caption, second.caption) == ("image", "saliency")
    assert first.pixels.shape == second.pixels.shape
    assert len(panel_figure([[first, second]], title="cat").axes) == 2
    with pytest.raises(TierError, match="cannot be drawn over 2 axes"):
        explanation_panels(image, torch.zeros(2, 2, 2), "saliency")
