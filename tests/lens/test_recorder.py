"""Predictions with attention weights and with embeddings, as vit-pytorch returns them."""

from typing import Any

import pytest
import torch
from torch import nn

import vitrail
from parity.pairs.vit import vit_pytorch
from tests.models.small import CASES, IDS, images_for, small
from vitrail.errors import ConfigError, TierError
from vitrail.layers.recording import RecordedMixer
from vitrail.lens import Extractor, Recorder

every_model = pytest.mark.parametrize(("name", "more"), CASES, ids=IDS)


@every_model
def test_every_model_is_recorded_or_says_why_not(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more).eval()
    if not any(isinstance(module, RecordedMixer) for module in model.modules()):
        with pytest.raises(TierError, match="has no attention to record"):
            Recorder(model)
        return
    images = images_for(model)
    with torch.no_grad():
        logits, weights = Recorder(model)(images)
        assert torch.equal(logits, model(images))
    layers = list(weights.values()) if isinstance(weights, dict) else list(weights.unbind(1))
    with vitrail.record(model) as maps, torch.no_grad():
        model(images)
    for layer, own in zip(layers, maps.values(), strict=True):
        assert torch.equal(layer, own) and layer.isfinite().all()


def test_weights_are_those_of_vit_pytorch() -> None:
    from vit_pytorch.extractor import Extractor as TheirExtractor
    from vit_pytorch.recorder import Recorder as TheirRecorder

    torch.manual_seed(0)
    ours, theirs = vit_pytorch("ViT", 2, {}, full=False)
    images = torch.randn(2, 3, *ours.image_size, dtype=next(ours.parameters()).dtype)
    logits, weights = Recorder(ours)(images)
    their_logits, their_weights = TheirRecorder(theirs)(images)
    assert isinstance(weights, torch.Tensor)
    torch.testing.assert_close(logits, their_logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(weights, their_weights, rtol=0, atol=1e-5)
    _, embeddings = TheirExtractor(theirs)(images)
    torch.testing.assert_close(Extractor(ours)(images)[1], embeddings, rtol=0, atol=1e-5)


def test_it_trains_nests_and_lets_the_model_go() -> None:
    model = small("ViT")
    outer, inner = Recorder(model), Recorder(model)
    images = images_for(model)
    with vitrail.record(model) as maps:
        logits, weights = outer(images)
    logits.sum().backward()
    assert isinstance(weights, torch.Tensor) and not weights.requires_grad
    assert torch.equal(torch.stack(list(maps.values()), 1), weights)
    assert isinstance(inner(images)[1], torch.Tensor)
    twice = Recorder(outer)(images)[1]
    assert isinstance(twice, torch.Tensor) and torch.equal(twice, weights)
    assert torch.equal(Extractor(outer)(images)[0], logits)
    assert outer.eject() is model and not any(
        module.recorder for module in model.modules() if isinstance(module, RecordedMixer)
    )


@every_model
def test_every_model_gives_its_embeddings(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more).eval()
    images = images_for(model)
    with torch.no_grad():
        logits, embeddings = Extractor(model)(images)
        features = model.features(images)
        assert torch.equal(logits, model(images))
    tokens = torch.cat([features.prefix, features.patches], 1)
    assert torch.equal(embeddings, tokens)


def test_layers_are_blocks_or_paths_and_run_once() -> None:
    model: Any = small("ViT", depth=2).eval()
    images, calls = images_for(model), []
    model.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    logits, of_block = Extractor(model, layer=-1)(images)
    assert len(calls) == 1
    assert torch.equal(logits, model(images))
    assert torch.equal(of_block, Extractor(model, layer="blocks.1")(images)[1])
    (features,) = model.intermediates(images, [1])
    assert torch.equal(of_block, torch.cat([features.prefix, features.patches], 1))
    hidden = Extractor(model, layer="blocks.0.mlp.fc1")(images)[1]
    assert hidden.shape[-1] == model.blocks[0].mlp.fc1.out_features
    assert not any(module._forward_hooks for module in model.blocks.modules())


def test_gradients_flow_where_they_are_wanted() -> None:
    model: Any = small("ViT")
    images = images_for(model)
    assert not Extractor(model)(images)[1].requires_grad
    Extractor(model, detach=False)(images)[1].sum().backward()
    assert model.patch_embed.weight.grad is not None


@pytest.mark.parametrize(
    ("layer", "message"),
    [(9, "layer 9 does not exist: there are 0 to"), ("blocks.0.nose", "no module 'blocks.0.nose'")],
)
def test_a_layer_that_does_not_exist(layer: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Extractor(small("ViT"), layer)


def test_windows_are_no_samples_of_the_batch() -> None:
    """All layers of this Swin have one shape, whose first axis counts windows too."""
    model = small("Swin", depth=(2,), dim=(16,), heads=(2,)).eval()
    _, weights = Recorder(model)(images_for(model))
    assert isinstance(weights, dict) and len({w.shape for w in weights.values()}) == 1


@pytest.mark.parametrize(
    ("layer", "message"),
    [("blocks", "layer='blocks' is not called"), ("pair", "layer='pair' returns a tuple")],
)
def test_a_module_without_a_tensor(layer: str, message: str) -> None:
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    model: Any = small("ViT")
    model.pair = Pair()
    model.patch_embed.register_forward_hook(lambda *_: model.pair(torch.ones(1)) and None)
    with pytest.raises(ConfigError, match=message):
        Extractor(model, layer)(images_for(model))


def test_they_are_at_the_front_door() -> None:
    assert vitrail.Recorder is Recorder and vitrail.Extractor is Extractor
    assert issubclass(Recorder, nn.Module)


def test_embeddings_alone() -> None:
    model = small("ViT")
    images = images_for(model)
    _, embeddings = Extractor(model)(images)
    assert torch.equal(Extractor(model)(images, return_embeddings_only=True), embeddings)
    assert torch.equal(Extractor(model, return_embeddings_only=True)(images), embeddings)
