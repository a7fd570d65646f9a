"""Recording changes nothing, nests, leaves nothing behind, and shows what was computed."""

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import vitrail
from tests.models.small import small
from vitrail.contract.model_case import awake
from vitrail.errors import ConfigError, TierError
from vitrail.layers.mamba import Mamba, RecordedScan
from vitrail.layers.recording import RecordedMixer
from vitrail.lens.layer_keys import recorded_mixers
from vitrail.lens.record import record, recording
from vitrail.lens.rollout import rollout
from vitrail.lens.trace import AttentionTrace, observe, patch_maps, trace_attention
from vitrail.models.features import Features
from vitrail.models.registry import model_classes
from vitrail.models.tiers import PyramidBackbone

IMAGES = torch.linspace(-2, 2, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32).sin()


def recorders(model: torch.nn.Module) -> list[object]:
    return [m.recorder for m in model.modules() if isinstance(m, RecordedMixer)]


def test_recording_does_not_change_a_bit() -> None:
    model = small("ViT")
    expected = model(IMAGES)
    with record(model):
        assert torch.equal(model(IMAGES), expected)
    with torch.no_grad():
        assert torch.equal(trace_attention(model, IMAGES).logits, expected)


@pytest.mark.parametrize("name", ["ViT", "Swin", "CaiT", "DeepViT"])
@pytest.mark.parametrize("frozen", [False, True])
def test_recorded_weights_have_gradients(name: str, frozen: bool) -> None:
    """Against finite steps: what the logit changes by when one weight does."""
    torch.manual_seed(0)
    model = awake(small(name)).eval().requires_grad_(not frozen)
    expected = model(IMAGES)
    with record(model, gradients=True) as maps:
        logits = model(IMAGES)
    assert torch.equal(logits, expected)
    key = list(maps)[-1]
    logits[:, 1].sum().backward()
    assert all(w.grad is not None and w.grad.abs().max() > 0 for w in maps.values())
    weights, grad = maps[key].detach(), maps[key].grad
    mixer = recorded_mixers(model)[key]
    step = 1e-3 * torch.randn_like(weights)

    def changed(sign: int) -> torch.Tensor:
        own = weights + sign * step
        mixer.forward = lambda q, k, v, bias=None: (
            (  # type: ignore[method-assign]
                own if mixer.after is None else mixer.after(own)
            )
            @ v
        )
        with torch.no_grad():
            return model(IMAGES)[:, 1].sum()

    slope = (changed(1) - changed(-1)) / 2
    torch.testing.assert_close((grad * step).sum(), slope, rtol=1e-2, atol=1e-5)


def test_gradients_of_recorded_weights_are_given_on_request_only() -> None:
    model = small("ViT")
    with record(model) as plain, record(model, gradients=True) as maps:
        model(IMAGES)
    assert maps[0].requires_grad and not plain[0].requires_grad
    with record(model) as plain:
        model(IMAGES)
    assert not any(m.gradient_recorders for m in recorded_mixers(model).values())
    with pytest.raises(ConfigError, match=r"heads=\[0\] with gradients"):
        record(model, heads=[0], gradients=True).__enter__()
    with pytest.raises(TierError, match="Mamba is not computed from the weights"):
        record(small("VisionMamba"), gradients=True).__enter__()


def test_recorders_are_removed_even_after_an_error() -> None:
    model = small("ViT")
    with pytest.raises(ZeroDivisionError), record(model):
        1 / 0
    assert recorders(model) == [None] * 3


def test_recordings_nest_and_each_sees_everything() -> None:
    model = small("ViT")
    with record(model) as outer:
        with record(model, layers=[1]) as inner:
            model(IMAGES)
        first = dict(outer)
        inner.clear()
        model(-IMAGES)
        assert not inner, "the inner recording goes on after its end"
        assert not torch.equal(outer[1], first[1]), "the outer one ends with the inner one"
    assert sorted(first) == [0, 1, 2]
    assert recorders(model) == [None] * 3


def test_a_recording_may_be_entered_again_and_within_itself() -> None:
    model = small("ViT")
    context = record(model)
    with context as outer, context as inner:
        model(IMAGES)
    with context as later:
        model(IMAGES)
    assert [sorted(maps) for maps in (outer, inner, later)] == [[0, 1, 2]] * 3
    with pytest.raises(ConfigError, match="ends before it began"):
        context.__exit__(None, None, None)
    assert recorders(model) == [None] * 3


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_recordings_may_end_in_any_order(order: tuple[int, ...]) -> None:
    model = small("ViT")
    contexts = [record(model) for _ in range(3)]
    maps = [context.__enter__() for context in contexts]
    active = set(range(3))
    for index in order:
        contexts[index].__exit__(None, None, None)
        active.remove(index)
        for recorded in maps:
            recorded.clear()
        model(IMAGES)
        assert [bool(recorded) for recorded in maps] == [i in active for i in range(3)]
    assert recorders(model) == [None] * 3


def test_a_copy_records_nothing() -> None:
    model = small("VisionMamba")
    mixer = next(m for m in model.modules() if isinstance(m, Mamba))
    weights: list[Tensor] = []
    scans: list[RecordedScan] = []
    mixer.recorder, mixer.scan_recorder = weights.append, scans.append
    copy.deepcopy(model)(IMAGES)
    assert not weights
    assert not scans
    model(IMAGES)
    assert len(weights) == len(scans) == 1


def test_a_recorder_set_by_hand_stays_and_sees_all() -> None:
    model = small("ViT")
    mixer = recorded_mixers(model)[0]
    calls: list[torch.Tensor] = []
    by_hand = calls.append
    mixer.recorder = by_hand
    with record(model) as maps:
        model(IMAGES)
    assert torch.equal(calls[0].detach(), maps[0])
    assert mixer.recorder is by_hand


def test_layers_and_heads_are_selected_and_unknown_ones_are_named() -> None:
    model = small("ViT")
    with record(model) as everything, torch.no_grad():
        model(IMAGES)
    with record(model, layers=[-1, 0], heads=[1]) as maps:
        model(IMAGES)
    assert sorted(maps) == [0, 2]
    torch.testing.assert_close(maps[2], everything[2][:, 1:2])
    with (
        pytest.raises(ConfigError, match="attention layer 3 does not exist: there are 0 to 2"),
        record(model, layers=[3]),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="head -3 does not exist: there are 0 to 1"),
        record(model, heads=[-3]),
    ):
        model(IMAGES)
    with (
        pytest.raises(ConfigError, match="attention layer 'blocks.0' does not exist: there are 0"),
        record(model, layers=["blocks.0"]),
    ):
        pass
    with pytest.raises(TierError, match="Linear has no attention"), record(torch.nn.Linear(1, 1)):
        pass


def test_keys_are_blocks_where_a_block_has_one_attention() -> None:
    model = small("CaiT")
    keys = list(recorded_mixers(model))
    assert keys[:3] == [0, 1, 2]
    assert len(keys) == 3 + len(model.class_blocks)
    assert all(isinstance(key, str) and key.startswith("class_blocks.") for key in keys[3:])


@pytest.mark.parametrize("name", model_classes())
def test_keys_lead_to_the_mixers(name: str) -> None:
    """An int is a block with one mixer, a string is the path of the mixer."""
    model = small(name)
    if not recorders(model):
        with pytest.raises(TierError, match="has no attention"):
            recorded_mixers(model)
        return
    mixers = recorded_mixers(model)
    assert len(mixers) == len(recorders(model))
    for key, mixer in mixers.items():
        if isinstance(key, str):
            assert model.get_submodule(key) is mixer
        else:
            assert not isinstance(model, PyramidBackbone)
            block = model.blocks[key]
            assert [m for m in block.modules() if isinstance(m, RecordedMixer)] == [mixer]


def test_a_layer_of_a_pyramid_is_chosen_by_its_path() -> None:
    model = small("SepViT")
    paths = list(recorded_mixers(model))
    assert all(isinstance(path, str) and path.startswith("blocks.") for path in paths)
    images = torch.randn(2, 3, *model.image_size)
    with record(model, layers=[paths[1]]) as maps:
        model(images)
    assert list(maps) == [paths[1]]


@pytest.mark.parametrize("name", ["ViT", "SimpleViT", "DeiT", "VisionMamba"])
def test_a_trace_is_what_was_recorded(name: str) -> None:
    """With and without prefix tokens. A trace keeps no (N, N) weights, only maps."""
    model = small(name)
    with record(model) as maps, torch.no_grad():
        features = model.features(IMAGES)
    trace = trace_attention(model, IMAGES)
    prefix = features.prefix.shape[1]
    assert trace.keys == [0, 1, 2]
    for layer in range(3):
        expected = patch_maps(maps[layer], (4, 4), prefix)
        torch.testing.assert_close(trace.attention[layer], expected)
        assert trace.attention[layer].shape == (2, 2, 4, 4)
    flow = rollout([maps[n] for n in range(3)])
    torch.testing.assert_close(trace.rollout, patch_maps(flow, (4, 4), prefix))
    torch.testing.assert_close(trace.features.patches, features.patches)


def test_a_scan_sees_what_came_before_it() -> None:
    """The class token is in the middle of 16 patches: each scan has read one half."""
    trace = trace_attention(small("VisionMamba"), IMAGES)
    assert trace.head_names[0] == ("scan from the start", "scan from the end")
    from_start, from_end = trace.attention[0][0].flatten(1)
    assert (from_start[:8] > 0).all()
    assert not from_start[8:].any()
    assert (from_end[8:] > 0).all()
    assert not from_end[:8].any()


def test_a_map_shows_what_a_query_attends_to() -> None:
    weights = torch.zeros(1, 2, 7, 7)
    weights[0, :, 0, 1 + 4] = 1.0  # the class token attends to the fifth patch of 2 x 3
    weights[0, :, 1:, 1 + 0] = 0.5  # all patches attend to the first
    weights[0, :, 1 + 3, 1 + 2] = 0.25  # that of row 1, column 0 attends to the third, too
    maps = patch_maps(weights, (2, 3), prefix=1)
    assert maps.shape == (1, 2, 2, 3)
    assert maps[0, 0].tolist() == [[0, 0, 0], [0, 1, 0]]
    assert torch.equal(maps, patch_maps(weights, (2, 3), 1, "class"))
    mean = patch_maps(weights, (2, 3), 1, "mean")[0, 0]
    torch.testing.assert_close(mean, torch.tensor([[0.5, 0, 0.25 / 6], [0, 0, 0]]))
    one = patch_maps(weights, (2, 3), 1, (1, 0))[0, 0]
    torch.testing.assert_close(one, torch.tensor([[0.5, 0, 0.25], [0, 0, 0]]))
    assert torch.equal(one, patch_maps(weights, (2, 3), 1, (-1, -3))[0, 0])


def test_a_query_that_does_not_exist_is_named() -> None:
    weights = torch.rand(1, 2, 6, 6)
    with pytest.raises(ConfigError, match="no class token"):
        patch_maps(weights, (2, 3), 0, "class")
    with pytest.raises(ConfigError, match="row or column 3 does not exist: there are 0 to 2"):
        patch_maps(weights, (2, 3), 0, (0, 3))
    query: Any
    for query in ("dog", (1,)):
        with pytest.raises(ConfigError, match=r"query=.* is not"):
            patch_maps(weights, (2, 3), 0, query)


def test_models_without_attention_maps_give_their_stages() -> None:
    images = torch.rand(2, 3, 32, 32)
    stages = observe(small("Swin"), images)
    assert isinstance(stages, list)
    assert [f.grid for f in stages] == [(16, 16), (8, 8), (4, 4)]
    assert isinstance(observe(small("ViT"), images), AttentionTrace)
    with pytest.raises(TierError, match="not over all tokens of the grid 16 x 16"):
        trace_attention(small("Swin"), images)


def test_a_model_without_attention_gives_four_blocks() -> None:
    model = small("XCiT", depth=8)
    stages = observe(model, torch.rand(1, 3, *model.image_size))
    assert isinstance(stages, list)
    expected = model.intermediates(torch.rand(1, 3, *model.image_size), [1, 3, 5, 7])
    assert len(stages) == len(expected) == 4


def test_an_error_of_the_model_is_not_taken_for_a_missing_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = small("ViT")

    def refuse(_features: Features) -> Features:
        raise TierError("this model needs every patch")

    monkeypatch.setattr(model, "encode", refuse)
    with pytest.raises(TierError, match="this model needs every patch"):
        observe(model, IMAGES)


def test_every_model_can_be_observed() -> None:
    for name in model_classes():
        model = small(name)
        result = observe(model, torch.rand(1, model.channels, *model.image_size))
        if isinstance(result, AttentionTrace):
            assert all(math.prod(m.shape[2:]) == math.prod(model.grid) for m in result.attention)
        else:
            assert all(isinstance(features, Features) for features in result)


def test_weights_of_a_forward_are_passed_on_and_not_kept() -> None:
    model = small("ViT")
    keys: list[object] = []
    with recording(model, lambda key, weights: keys.append((key, weights.requires_grad))):
        model(IMAGES)
    assert keys == [(0, False), (1, False), (2, False)]


def test_record_is_public() -> None:
    assert vitrail.record is record


def test_no_images_have_no_trace() -> None:
    for trace in (trace_attention, observe):
        with pytest.raises(ConfigError, match="images=.* none of them empty"):
            trace(small("ViT"), IMAGES[:0])
