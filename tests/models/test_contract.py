"""What every model must keep. A new model is here by existing: the registry finds it."""

import inspect
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from beartype import beartype
from jaxtyping import Float, Int, jaxtyped
from torch import Tensor, nn

import vitrail
from tests.models.small import (
    CASES,
    IDS,
    ODD,
    RECTANGLES,
    REFUSED,
    SECOND,
    count_calls,
    images_for,
    small,
)  # fmt: skip
from vitrail.errors import ConfigError, DataError, TierError
from vitrail.layers.position import PositionTable
from vitrail.layers.recording import RecordedMixer
from vitrail.layers.relative_position import RelativeBias
from vitrail.layers.tokens import Token
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.parameters import undecayed
from vitrail.models.registry import get_model_class, variants
from vitrail.models.tiers import PyramidBackbone, SequenceBackbone
from vitrail.models.vim import VisionMamba

every_model = pytest.mark.parametrize(("name", "more"), CASES, ids=IDS)
every_class = pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))


PYRAMIDS = [case for case in CASES if issubclass(get_model_class(case[0]), PyramidBackbone)]
PYRAMID_IDS = [i for i, case in zip(IDS, CASES, strict=True) if case in PYRAMIDS]


@every_model
def test_shapes_are_as_the_contract_names_them(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)

    @jaxtyped(typechecker=beartype)
    def check(
        images: Float[Tensor, "b c *size"],
        patches: Float[Tensor, "b n d"],
        prefix: Float[Tensor, "b p d"],
        encoded: Float[Tensor, "b n d"],
        encoded_prefix: Float[Tensor, "b p d"],
        pooled: Float[Tensor, "b pooled"],
        logits: Float[Tensor, "b classes"],
    ) -> None:
        assert pooled.shape[1] == model.pooled_dim
        assert logits.shape[1] == model.num_classes == 5

    images = images_for(model)
    embedded, encoded = model.embed(images), model.features(images)
    if not isinstance(model, SequenceBackbone):  # its grid and width may change on the way
        embedded = encoded
    check(images, *embedded[:2], *encoded[:2], model.pool(encoded), model(images))
    grid = encoded.grid
    assert torch.Size(grid).numel() == encoded.patches.shape[1]
    assert encoded.to_map(channels_first=True).shape[2:] == torch.Size(grid)


@every_model
def test_forward_is_the_four_stages(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    images = images_for(model)
    assert torch.equal(model(images), model.head(model.pool(model.encode(model.embed(images)))))
    if not isinstance(model, VisionMamba):  # its forward takes a cache, too
        assert type(model).forward is Backbone.forward


# What the logits do not depend on: of CvT's last block only the class token is read, whose query
# passes by the convolution.
# Of RegionViT's last block only the regional tokens are read, which have no bias.
# The softmax of CCT's sequence pooling ignores its bias, whose gradient is rounding noise or 0.
UNREAD = {
    "CCT": "sequence_pool.bias",
    "CvT": "blocks.2.blocks.1.mixer.q_conv.",
    "RegionViT": "blocks.2.blocks.0.bias.",
}


@every_model
def test_a_gradient_reaches_every_parameter(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more).train()
    (model(images_for(model)) * torch.randn(2, 5)).sum().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    unread = UNREAD.get(name, "nothing")
    assert all(n.startswith(unread) for n in missing), missing


@every_model
def test_every_parameter_is_initialised(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    model.init_weights()
    assert not [n for n, p in model.named_parameters() if not p.isfinite().all()]


@every_model
def test_samples_of_a_batch_are_independent(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more).double()
    images = images_for(model, 3).double()
    changed = images.clone()
    changed[1] = 100.0
    before, after = model(images), model(changed)
    assert not torch.allclose(before[1], after[1])
    torch.testing.assert_close(before[[0, 2]], after[[0, 2]], rtol=0, atol=1e-12)


@every_model
def test_config_and_weights_round_trip(name: str, more: dict[str, Any], tmp_path: Path) -> None:
    model = small(name, **more)
    images = images_for(model)
    parameters = inspect.signature(get_model_class(name).__init__).parameters
    assert list(model.config) == list(parameters)[1:]
    twin = get_model_class(name)(**json.loads(json.dumps(model.config)))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.eval()(images), model(images))
    vitrail.save(model, tmp_path / "model")
    loaded = vitrail.load(tmp_path / "model")
    assert torch.equal(loaded(images), model(images))
    assert loaded.config == model.config


# Exporting takes seconds, so that `make test` exports each class once and `make test-all` the rest.
EXPORTED = [
    pytest.param(*case, id=i, marks=[pytest.mark.slow] if case[1] else [])
    for i, case in zip(IDS, CASES, strict=True)
]


@pytest.mark.parametrize(("name", "more"), EXPORTED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_export_without_drift_at_any_batch_size(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (images_for(model),), dynamic_shapes=({0: batch},))
    images = images_for(model, 5)
    torch.testing.assert_close(exported.module()(images), model(images), rtol=0, atol=1e-6)


@every_model
def test_recorded_attention_rows_sum_to_one(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    mixers = [m for m in model.modules() if isinstance(m, RecordedMixer)]
    images = images_for(model)
    plain = model(images)
    with vitrail.record(model) as maps:
        recorded = model(images)
    assert torch.equal(plain, recorded), "recording changed the output"
    assert len(maps) == len(mixers)
    for weights in maps.values():
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


@pytest.mark.parametrize("variant", sorted(variants()))
def test_parameters_are_as_published(variant: str) -> None:
    entry = variants()[variant]
    with torch.device("meta"):
        model = entry.model(**entry.variant.keywords)
    assert sum(p.numel() for p in model.parameters()) == entry.variant.parameters


@every_model
def test_intermediates_are_what_encode_passes_through(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    images = images_for(model)
    first, last = model.intermediates(images, [0, -1])
    if isinstance(model, SequenceBackbone | PyramidBackbone):
        torch.testing.assert_close(model.norm(last.patches), model.features(images).patches)
    assert not torch.equal(first.patches, last.patches)
    end = len(model.blocks) - 1
    with pytest.raises(
        ConfigError, match=f"layer 7 is not in this model: it has blocks 0 to {end}"
    ):
        model.intermediates(images, [7])


@pytest.mark.parametrize(("name", "more"), PYRAMIDS, ids=PYRAMID_IDS)
def test_a_pyramid_gives_its_stages_at_its_strides(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    stages = model.intermediates(images_for(model), range(len(model.blocks)))
    assert len(model.strides) == len(model.blocks)
    # patches that overlap lose their overlap at the far edges
    overlap = model.config["patch_size"] - model.config["stride"] if "stride" in model.config else 0
    for stage, stride in zip(stages, model.strides, strict=True):
        assert stage.grid == tuple(-(-(side - overlap) // stride) for side in model.image_size)
        assert stage.to_map(channels_first=True).shape[2:] == stage.grid


@every_model
def test_gradient_checkpointing_recomputes_and_changes_nothing(
    name: str, more: dict[str, Any]
) -> None:
    model = small(name, **more).train()
    images = images_for(model)
    leaves = [m for m in model.blocks.modules() if not list(m.children())]
    gradients, counts = [], []
    for enable in (False, True):
        model.set_gradient_checkpointing(enable)
        model.zero_grad()
        torch.manual_seed(0)  # for what a model draws in training
        random.seed(0)
        with count_calls(leaves) as calls:
            model(images).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
        counts.append(calls)
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)
    # A block's last modules need not run again: nothing in the backward pass needs their outputs.
    for modules in model.block_modules():
        inner = [leaf for module in modules for leaf in module.modules() if leaf in counts[0]]
        assert any(counts[1][leaf] > counts[0][leaf] for leaf in inner), "nothing is computed again"


@every_model
def test_reset_head_gives_new_classes(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    images = images_for(model)
    pooled = model.pool(model.features(images))
    model.reset_head(9)
    assert model(images).shape == (2, 9)
    assert model.config["num_classes"] == 9
    model.reset_head(0)
    assert torch.equal(model(images), pooled)


@every_model
def test_layers_for_decay_and_freezing(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    layers, names = model.layer_ids(), [n for n, _ in model.named_parameters()]
    assert list(layers) == names
    assert set(layers.values()) == set(range(model.depth + 2))
    assert {layer for n, layer in layers.items() if n.startswith("head.")} == {model.depth + 1}
    model.freeze()
    assert {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad} == {"head"}
    model.freeze(2)
    learning = {layers[n] for n, p in model.named_parameters() if p.requires_grad}
    assert learning == set(range(2, model.depth + 2))
    with pytest.raises(ConfigError, match="layers=99 is not within 0 to"):
        model.freeze(99)


# Tables that the authors' code decays; all others, and all tokens, it spares.
DECAYED: dict[str, type[nn.Module]] = {"PVT": PositionTable, "RegionViT": RelativeBias}


@every_model
def test_weight_decay_spares_vectors_tokens_and_positions(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    spared, modules = undecayed(model), dict(model.named_modules())
    for parameter_name, parameter in model.named_parameters():
        path, _, last = parameter_name.rpartition(".")
        own = last in getattr(modules[path], "undecayed", ())
        assert (parameter_name in spared) == (parameter.ndim < 2 or own), parameter_name
        if isinstance(modules[path], nn.Linear):
            assert not own


@every_model
def test_tokens_and_tables_are_decayed_where_their_authors_do(
    name: str, more: dict[str, Any]
) -> None:
    model = small(name, **more)
    spared = undecayed(model)
    for path, module in model.named_modules():
        if isinstance(module, Token | PositionTable | RelativeBias):
            decayed = isinstance(module, DECAYED.get(name, ()))
            for parameter_name, _ in module.named_parameters(path, recurse=False):
                assert (parameter_name not in spared) == decayed, parameter_name


@every_model
def test_any_rectangle_of_patches_works(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    axes = len(model.image_size)
    size = RECTANGLES.get(name, SECOND[axes])
    assert model(torch.randn(1, model.channels, *size)).shape == (1, 5)
    refused = " x ".join(map(str, ODD[axes])) + " pixels does not divide into patches"
    odd, reason = REFUSED.get(name, (ODD[axes], refused))
    if odd and model.config.get("stride") in (None, 8):
        with pytest.raises(DataError, match=reason):
            model(torch.randn(1, model.channels, *odd))
    with pytest.raises(DataError, match=f"{model.channels}-channel images"):
        model(torch.randn(1, model.channels + 1, *model.image_size))


@every_model
def test_patches_may_be_dropped_as_the_tier_says(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    features = model.embed(images_for(model))
    count = features.patches.shape[1]
    if isinstance(model, SequenceBackbone):
        everything = torch.arange(count).expand(2, -1)
        whole, same = model.encode(features), model.encode(features.take(everything))
        torch.testing.assert_close(whole.patches, same.patches)
        visible = torch.stack([torch.randperm(count)[:4].sort().values for _ in range(2)])
        assert model.encode(features.take(visible)).patches.shape[1] == 4
        # A patch that was dropped leaves no trace; the others keep their own positions.
        poisoned = features.patches.scatter(1, _others(visible, count, features), torch.nan)
        fewer = model.encode(features._replace(patches=poisoned).take(visible))
        torch.testing.assert_close(fewer.patches, model.encode(features.take(visible)).patches)
    else:
        with pytest.raises(TierError, match="needs every patch of the grid"):
            model.encode(features.take(torch.zeros(2, 1, dtype=torch.long)))


def _others(visible: Int[Tensor, "b k"], count: int, features: Features) -> Int[Tensor, "b m d"]:
    others = [sorted(set(range(count)) - set(row.tolist())) for row in visible]
    return torch.tensor(others)[..., None].expand(-1, -1, features.patches.shape[2])


@every_class
def test_an_unknown_keyword_names_the_nearest(name: str) -> None:
    with pytest.raises(ConfigError, match="no keyword 'num_clases'. Did you mean 'num_classes'"):
        small(name, num_clases=3)
    if isinstance(small(name).config.get("heads"), int):
        with pytest.raises(ConfigError, match="dim=32 does not divide into heads=5"):
            small(name, heads=5)
        with pytest.raises(ConfigError, match="heads=0 is not a whole number of at least 1"):
            small(name, heads=0)
    if name not in REFUSED:
        with pytest.raises(DataError, match="4 x 4 pixels does not divide"):
            small(name, image_size=4)
