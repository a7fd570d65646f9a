"""Layers of Mamba: the loops that guides and the official code write, and pairs that are joined."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.test_vim import SIZES, images, official, tiny
from vitrail.layers.inference_params import InferenceParams
from vitrail.layers.mamba import Mamba
from vitrail.models.vim import VisionMamba

# The loops that learning guides write.


def official_loop(layers: Any, hidden_states: Tensor) -> Tensor:
    residual = None
    for i in range(len(layers) // 2):
        hidden_states_f, residual_f = layers[i * 2](hidden_states, residual)
        hidden_states_b, residual_b = layers[i * 2 + 1](
            hidden_states.flip([1]), None if residual is None else residual.flip([1])
        )
        hidden_states = hidden_states_f + hidden_states_b.flip([1])
        residual = residual_f + residual_b.flip([1])
    return hidden_states + residual


@torch.no_grad()
@pytest.mark.parametrize("share", [False, True])
def test_the_official_loop_of_pairs(share: bool) -> None:
    model = official(pairs=True, depth=4, scan="v1", layer_scale=0.6)
    if share:
        model = tiny(pairs="sum", share_pairs=True, depth=2, scan="v1")
        assert model.layers[0].__self__ is model.layers[1].__self__
    tokens, context, _ = model.to_sequence(model.embed(images()))
    outputs = official_loop(model.layers, tokens)
    expected = model.run_blocks(tokens, *context) + (tokens if share else 0)
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_loop_of_the_guide_keeps_the_residual() -> None:
    model = tiny(scan="forward", depth=4)
    hidden_states = residual = model.to_sequence(model.embed(images())).tokens
    expected = hidden_states
    for i in range(len(model.blocks) // 2):
        hidden_states_f = model.blocks[i * 2](hidden_states, residual)
        hidden_states_b = model.blocks[i * 2 + 1](hidden_states.flip([1]), residual.flip([1]))
        hidden_states = hidden_states_f + hidden_states_b.flip([1])

        first, second = model.blocks[i * 2], model.blocks[i * 2 + 1]
        x = expected + residual
        expected = first.mixer(first.norm(x)) + second.mixer(second.norm(x.flip([1]))).flip([1])
    torch.testing.assert_close(hidden_states, expected)


@torch.no_grad()
@pytest.mark.parametrize("scan", ["forward", "v1", "v2"])
def test_layers_one_after_the_other_are_the_blocks(scan: str) -> None:
    model = tiny(scan=scan, depth=3)
    tokens, context, _ = model.to_sequence(model.embed(images()))
    hidden_states, residual = tokens, None
    for layer in model.layers:
        hidden_states, residual = layer(hidden_states, residual)
    blocks = model.run_blocks(tokens, *context)
    torch.testing.assert_close(hidden_states + residual, blocks, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_layers_take_a_cache_as_the_official_ones_do() -> None:
    model = tiny(scan="forward", depth=3)
    tokens, context, _ = model.to_sequence(model.embed(images()))
    cache, outputs = InferenceParams(tokens.shape[1], 2), []
    for token in tokens.split(1, dim=1):
        hidden_states, residual = token, None
        for layer in model.layers:
            hidden_states, residual = layer(hidden_states, residual, inference_params=cache)
        outputs.append(hidden_states + residual)
        cache.seqlen_offset += 1
    blocks = model.run_blocks(tokens, *context)
    torch.testing.assert_close(torch.cat(outputs, dim=1), blocks, rtol=1e-5, atol=1e-5)


# Fusion by concatenation.


@torch.no_grad()
@pytest.mark.parametrize("scan", ["v1", "v2"])
def test_concatenated_directions_are_projected(scan: str) -> None:
    mixer, summed = (Mamba(16, scan, fusion=f).double() for f in ("concat", "sum"))
    weights = mixer.state_dict()
    left, right = weights["out_proj.weight"].chunk(2, dim=1)
    assert left.shape == right.shape == (16, 32)
    summed.load_state_dict({**weights, "out_proj.weight": left})
    x = torch.randn(2, 11, 16, dtype=torch.double)
    assert not torch.allclose(mixer(x), summed(x))
    mixer.out_proj.weight.copy_(torch.cat([left, left], dim=1))
    torch.testing.assert_close(mixer(x), summed(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(mixer(x, reverse=True), mixer(x.flip(1)).flip(1))
    mixer.out_proj.weight.copy_(torch.cat([left, torch.zeros_like(left)], dim=1))
    ahead = mixer(x, inference_params=InferenceParams(11, 2, forward_only=True))
    torch.testing.assert_close(mixer(x), ahead, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("share", [False, True])
def test_concatenated_pairs_are_projected_and_start_as_their_mean(share: bool) -> None:
    model = VisionMamba(**SIZES, pairs="concat", share_pairs=share).double().eval()
    (pair,), x = model.blocks, torch.randn(2, 13, 16, dtype=torch.double)
    first, second = pair.branches
    ahead, back = first(x), second(x.flip(1)).flip(1)
    torch.testing.assert_close(pair(x), x + (ahead + back) / 2, rtol=0, atol=1e-12)
    weight = torch.randn_like(pair.projection.weight)
    pair.projection.weight.copy_(weight)
    expected = x + torch.cat([ahead, back], dim=-1) @ weight.mT
    torch.testing.assert_close(pair(x), expected, rtol=0, atol=1e-12)
