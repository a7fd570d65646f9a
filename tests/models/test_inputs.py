"""What is no batch of images, no layer and no number of classes gets one line."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vitrail
from tests.models.small import images_for, small
from vitrail.errors import ConfigError, DataError
from vitrail.models.base import Backbone
from vitrail.models.registry import model_classes


@pytest.fixture(scope="module")
def model() -> Backbone:
    return small("ViT").eval()


IMAGES = torch.zeros(2, 3, 32, 32)


@pytest.mark.parametrize(
    ("images", "error"),
    [
        (IMAGES.byte(), r"torch.uint8 is not normalized: give the model model.preprocess\(images"),
        (IMAGES.long(), r"torch.int64 is not normalized: give the model images.float\(\)"),
        (IMAGES > 0, "torch.bool is not normalized"),
        (
            IMAGES.double(),
            r"torch.float64 does not fit .*: give the model images.to\(torch.float32",
        ),
        (IMAGES.half(), "input of torch.float16 does not fit weights of torch.float32"),
        (IMAGES.to("meta"), r"input is on meta and the model on cpu: .* \.to\(\"cpu\"\)"),
        (IMAGES.to_sparse(), "give a dense one"),
        (
            torch.nested.nested_tensor([IMAGES[0], IMAGES[1]], layout=torch.jagged),
            "give a dense one",
        ),
        (IMAGES.numpy(), "type ndarray is no tensor: model.preprocess makes one of paths"),
        (Image.new("RGB", (32, 32)), "type Image is no tensor"),
        ([IMAGES[0], IMAGES[1]], "type list is no tensor"),
        ({"pixel_values": IMAGES}, "type dict is no tensor"),
        (None, "type NoneType is no tensor"),
        (IMAGES[0], r"input of shape \(3, 32, 32\) does not fit a model for 3-channel images"),
    ],
)
def test_each_entry_point_says_what_is_wrong(model: Backbone, images: Any, error: str) -> None:
    for entry in (model, model.features, model.embed, model.forward_features):
        with pytest.raises(DataError, match=error):
            entry(images)
    with pytest.raises(DataError, match=error):
        model.intermediates(images, [0])
    with vitrail.record(model), pytest.raises(DataError, match=error):
        model(images)


@pytest.mark.parametrize("name", sorted(model_classes()))
def test_every_model_checks(name: str) -> None:
    model = small(name)
    for images in (images_for(model).byte(), images_for(model).double(), [images_for(model)]):
        with pytest.raises(DataError):
            model(images)


@pytest.mark.parametrize("name", sorted(model_classes()))
def test_what_has_no_pixels_or_is_traced_symbolically(name: str) -> None:
    model = small(name)
    for images in (images_for(model)[..., :0], torch.tensor(1.0)):
        with pytest.raises(DataError, match=r"has no pixels|fit|divide"):
            model(images)
    with pytest.raises(DataError, match=r"torch.fx.symbolic_trace: use torch.export\.$"):
        torch.fx.symbolic_trace(model)
    with pytest.raises(ConfigError, match=r"torch.jit.script: use torch.export\.$"):
        torch.jit.script(model)


@pytest.mark.parametrize("name", sorted(model_classes()))
def test_tiny_images_give_logits_or_one_line(name: str) -> None:
    """Narrow and short ones, too: what a stem or a window cannot read is said."""
    model = small(name)
    whole, axes = images_for(model, 1), len(model.image_size)
    for side in (1, 2, 3):
        for size in ((side,) * axes, (*model.image_size[:-1], side), (side, *model.image_size[1:])):
            images = whole[..., : size[-1]]
            for axis, pixels in enumerate(size):
                images = images.narrow(2 + axis, 0, min(pixels, images.shape[2 + axis]))
            try:
                logits = model(images)
            except (DataError, ConfigError) as problem:
                assert "\n" not in str(problem)
            else:
                assert logits.shape == (1, 5) and logits.isfinite().all()


def test_the_cures_work(model: Backbone) -> None:
    assert model(model.preprocess(IMAGES.byte())).shape == (2, 5)
    assert model(torch.as_tensor(IMAGES.numpy())).shape == (2, 5)
    with torch.autocast("cpu", torch.bfloat16):  # converts either way
        assert model(IMAGES.bfloat16()).shape == (2, 5)
    assert small("ViT").double()(IMAGES.double()).dtype == torch.float64


def test_a_list_of_images_is_checked_one_by_one() -> None:
    model = small("NaViT")
    with pytest.raises(DataError, match=r"torch.uint8 is not normalized"):
        model([IMAGES[0], IMAGES[0].byte()])


@pytest.mark.parametrize("layer", [99, -9, 1.0, True, "0", None])
def test_layers_that_do_not_exist(model: Backbone, layer: Any) -> None:
    """Every function that takes layers or heads, by a list or bare."""
    for layers in ([layer], layer):
        if layers is not None:  # all layers
            with pytest.raises(ConfigError, match="layer"):
                model.intermediates(IMAGES, layers)
        if layers is not None:
            with pytest.raises(ConfigError, match="layer"), vitrail.record(model, layers=layers):
                pass
            with pytest.raises(ConfigError, match="head"), vitrail.record(model, heads=layers):
                model(IMAGES)
    with pytest.raises(ConfigError, match="depth="):
        model.cut(layer)


def test_whole_numbers_of_numpy_are_layers(model: Backbone) -> None:
    assert len(model.intermediates(IMAGES, np.array([0, -1]))) == 2
    with vitrail.record(model, layers=np.array([-1])) as maps:
        model(IMAGES)
    assert list(maps) == [model.depth - 1]


@pytest.mark.parametrize("layers", [99, -9, 9, 1.5, True, "1"])
def test_freezing_out_of_range(layers: Any) -> None:
    model = small("ViT")
    with pytest.raises(ConfigError, match=f"layers={layers!r} is not"):
        model.freeze(layers)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", ["CvT", "LeViT", "MobileViT", "XCiT"])
def test_batch_norms_of_frozen_layers_keep_their_statistics(name: str) -> None:
    model, images = small(name), images_for(small(name))
    before = {
        key: value.clone()
        for key, value in model.named_buffers()
        if "running" in key and not key.startswith(model.after_blocks)
    }

    def moved() -> list[bool]:
        model(images)
        return [not torch.equal(model.get_buffer(key), before[key]) for key in before]

    for layers in (None, -1):
        model.requires_grad_(True).train().freeze(layers)
        assert not any(moved())
        model.train()
        assert not any(moved())
    model.requires_grad_(True).train()
    assert all(moved())


@pytest.mark.parametrize("classes", [-1, 2.5, "3", True, None])
def test_heads_of_no_number_of_classes(classes: Any) -> None:
    model = small("ViT")
    with pytest.raises(ConfigError, match="num_classes="):
        model.reset_head(classes)
    assert model(IMAGES).shape == (2, 5)


def test_a_new_head_drops_labels_of_another_number() -> None:
    model = small("ViT")
    model.labels = list("abcde")
    model.reset_head(5)
    assert model.labels == list("abcde")
    model.reset_head(0)
    assert model.labels == list("abcde")  # a method that needs no head leaves the names
    model.reset_head(3)
    assert model.labels is None


def test_second_derivatives_by_the_math_backend(model: Backbone) -> None:
    """A gradient penalty, against differences of the first derivative."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    double = small("ViT").double().eval()
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    direction = torch.randn_like(images)

    def slope(at: torch.Tensor) -> torch.Tensor:
        (gradient,) = torch.autograd.grad(double(at).square().sum(), at, create_graph=True)
        return (gradient * direction).sum()

    with sdpa_kernel(SDPBackend.MATH):
        (second,) = torch.autograd.grad(slope(images), images)
        step = 1e-5 * torch.randn_like(images)
        difference = slope(images + step) - slope(images - step)
    assert torch.allclose((second * step).sum() * 2, difference, rtol=1e-4)


def test_a_single_image_has_no_statistics_to_train_with() -> None:
    model = small("LeViT").train()
    with pytest.raises(DataError, match="a batch of 1 is too small for batch normalization"):
        model(images_for(model, 1))
    assert model.eval()(images_for(model, 1)).shape[0] == 1
