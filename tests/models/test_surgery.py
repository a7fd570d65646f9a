"""A model for another image size or with other options: same outputs, and a true config."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitrail
from tests.models.small import CASES, IDS, RECTANGLES, SECOND, images_for, small
from vitrail.errors import ConfigError, DataError
from vitrail.models.registry import model_classes
from vitrail.models.surgery import OPTIONS, resized, with_channels, with_options

every_model = pytest.mark.parametrize(("name", "more"), CASES, ids=IDS)


@every_model
@torch.no_grad()
def test_a_resized_model_is_true_after_saving(
    name: str, more: dict[str, Any], tmp_path: Path
) -> None:
    model = small(name, **more)
    size = RECTANGLES.get(name, SECOND[len(model.image_size)])
    images = torch.randn(2, model.channels, *size)
    other = resized(model, size)
    expected = model(images)
    torch.testing.assert_close(other(images), expected, rtol=1e-4, atol=1e-4)
    vitrail.save(other, tmp_path / "model")
    loaded = vitrail.load(tmp_path / "model")
    assert torch.equal(loaded(images), other(images))
    for each in (other, loaded):
        assert each.image_size == each.config["image_size"] == each.preprocess.size == size
    assert loaded.config == other.config
    assert loaded.grid == other.grid


def test_the_example_of_the_review(tmp_path: Path) -> None:
    """SimpleViT trained at 32 and loaded at 64 says 64, saved and loaded again."""
    vitrail.save(small("SimpleViT", image_size=32), tmp_path / "a")
    vitrail.save(vitrail.load(tmp_path / "a", image_size=64), tmp_path / "b")
    model = vitrail.load(tmp_path / "b")
    assert model.image_size == model.config["image_size"] == model.preprocess.size == (64, 64)


def test_rotations_stay_scaled_to_the_size_of_training() -> None:
    model = small("ViT", position="rope")
    other = resized(model, 64)
    assert other.config["reference_size"] == (32, 32)
    assert resized(other, 48).config["reference_size"] == (32, 32)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(other(images), model(images))
    fresh = small("ViT", position="rope", image_size=64)
    fresh.load_state_dict(model.state_dict())
    assert not torch.allclose(fresh(images), model(images))


def test_what_is_beside_the_weights_comes_along() -> None:
    model = small("ViT").half().train()
    model.labels, model.origin = list("abcde"), "here"
    model.set_gradient_checkpointing()
    model.freeze()
    for other in (resized(model, 64), with_options(model, {"dropout": 0.1})):
        assert (other.labels, other.origin) == (model.labels, "here")
        assert other.training and other.gradient_checkpointing
        assert other.norm.weight.dtype == torch.float16
        trainable = {name for name, p in other.named_parameters() if p.requires_grad}
        assert trainable == {"head.weight", "head.bias"}
        assert other.norm.weight.data_ptr() != model.norm.weight.data_ptr()


def test_nothing_is_drawn() -> None:
    model = small("ViT")
    state = torch.get_rng_state()
    resized(model, 64)
    with_options(model, {"drop_path": 0.1})
    assert torch.equal(torch.get_rng_state(), state)


def test_a_size_that_patches_do_not_divide_is_refused() -> None:
    with pytest.raises(DataError, match="30 x 30 pixels does not divide"):
        resized(small("ViT"), 30)


def test_dropout_and_drop_path_may_change() -> None:
    model = small("ViT")
    options = {"dropout": 0.1, "emb_dropout": 0.2, "drop_path": 0.3}
    other = with_options(model, options)
    images = images_for(model)
    assert torch.equal(other(images), model(images))
    assert [block.drop_path.rate for block in other.blocks] == pytest.approx([0, 0.15, 0.3])
    assert not torch.equal(other.train()(images), other(images))
    assert other.config == {**model.config, **options}


def test_a_token_that_is_not_read_goes_with_its_position() -> None:
    """MAE's case: pretrained with a class token, fine-tuned on the mean of the patches."""
    model = small("ViT", num_classes=0)
    mean = with_options(model, {"pool": "mean"})
    assert mean.class_token is None
    assert torch.equal(mean.position.weight, model.position.weight[:, 1:])
    alone = model.embed(images_for(model))._replace(prefix=torch.zeros(2, 0, model.dim))
    expected = model.encode(alone).patches.mean(1)
    torch.testing.assert_close(mean.pool(mean.encode(alone)), expected)


def test_modules_after_the_blocks_may_be_fresh() -> None:
    both = with_options(small("ViT"), {"pool": "cls_mean"})
    assert both.head.weight.shape == (5, 64)
    beit = small("BEiT", pool="cls")
    torch.nn.init.normal_(beit.norm.weight)
    other = with_options(beit, {"pool": "mean"})
    assert torch.equal(other.pool_norm.weight, torch.ones(32))
    for key, value in other.blocks.state_dict().items():
        assert torch.equal(value, beit.blocks.state_dict()[key])


@pytest.mark.parametrize(
    ("keywords", "options", "error"),
    [
        ({"pool": "mean"}, {"pool": "cls"}, "pool='cls' needs the weight class_token.weight"),
        ({}, {"heads": 4}, "the option 'heads' cannot change once there are weights"),
        ({}, {"dropuot": 0.1}, "Did you mean 'dropout'"),
        ({}, {"token_dropout": 0.1}, "ViT has no keyword 'token_dropout'"),
        ({}, {"pool": "max"}, "pool='max' is not one of"),
    ],
)
def test_what_may_not_change(keywords: dict[str, Any], options: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        with_options(small("ViT", **keywords), options)


def test_options_are_keywords_of_some_model() -> None:
    keywords = {keyword for name, _ in CASES for keyword in small(name).config}
    assert set(OPTIONS) <= keywords


@pytest.mark.parametrize("name", sorted(model_classes()))
@torch.no_grad()
def test_channels_keep_the_logits_of_gray_and_of_repeated_images(name: str) -> None:
    """One channel equals the image in gray; twice the channels equal the image twice."""
    model = small(name).double().eval()
    images = images_for(model).double()
    if name in ("T2TViT", "SmallViT"):  # they attend to, or normalize, the pixels of a patch
        with pytest.raises(ConfigError, match="depends on the number of channels"):
            with_channels(model, 1)
        return
    gray = images[:, :1]
    close = {"atol": 1e-9, "rtol": 1e-9}
    one = with_channels(model, 1)
    assert torch.allclose(one(gray), model(gray.expand(images.shape)), **close)
    twice = with_channels(model, 6)
    assert torch.allclose(twice(torch.cat([images, images], dim=1)), model(images), **close)
    assert (one.config["channels"], one.preprocess.channels, twice.preprocess.channels) == (1, 1, 6)
    assert not one.training


def test_channels_that_are_none() -> None:
    for channels in (0, -1, 1.5, "3"):
        with pytest.raises(ConfigError, match="channels="):
            with_channels(small("ViT"), channels)  # type: ignore[arg-type]


@torch.no_grad()
def test_channels_as_timm_adapts_them(tmp_path: Path) -> None:
    import timm
    from timm.models import adapt_input_conv

    weights = small("ViT").patch_embed.weight.detach().clone()
    for channels in (1, 2, 4, 5, 12):
        adapted = with_channels(model_with(weights), channels).patch_embed.weight
        expected = adapt_input_conv(channels, weights)
        assert torch.allclose(adapted, expected, atol=1e-6), (channels, timm.__version__)
    folder = vitrail.save(small("ViT"), tmp_path / "model")
    model = vitrail.load(folder, channels=4, image_size=40)
    assert model(torch.zeros(1, 4, 40, 40)).shape == (1, 5)
    assert with_options(small("ViT"), {"channels": 1}).channels == 1


def model_with(weight: Tensor) -> Any:
    model: Any = small("ViT")
    model.patch_embed.weight.copy_(weight)
    return model


def test_a_changed_model_is_not_built_anew() -> None:
    model: Any = small("ViT")
    model.blocks[0].mlp.activation = nn.ReLU()
    for change in (lambda: resized(model, 64), lambda: with_channels(model, 1)):
        with pytest.raises(ConfigError, match="is ReLU, .* so that no other model can be made"):
            change()
    other: Any = small("ViT")
    other.head = nn.Sequential(nn.Linear(32, 9))
    with pytest.raises(ConfigError, match=r"head.weight is missing, .*: replace a head by"):
        with_options(other, {"pool": "mean"})


def test_compiled_models_and_blocks_are_resized_too() -> None:
    model: Any = small("Swin")
    images = torch.randn(1, 3, 48, 24)
    expected = resized(model, (48, 24))(images)
    compiled: Any = torch.compile(model, backend="eager")
    assert torch.equal(resized(compiled, (48, 24))(images), expected)
    model.blocks[0] = torch.compile(model.blocks[0], backend="eager")
    assert torch.equal(resized(model, (48, 24))(images), expected)
