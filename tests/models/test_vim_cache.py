"""Vision Mamba with a cache: parts of an image, limits, states."""

import pytest
import torch
from torch import Tensor, nn

from tests.models.test_vim import PATCHES, disturbed, images, tiny
from vitrail.deploy.fuse import fuse
from vitrail.errors import ConfigError, TierError
from vitrail.layers.inference_params import InferenceParams
from vitrail.layers.mamba import Mamba
from vitrail.ops.selective_scan.reference import scan_states


def test_parts_that_do_not_follow_are_one_line() -> None:
    model, cache = tiny(scan="forward", pool="mean"), InferenceParams(100, 4)
    row = images(size=(4, 16))
    model(row, inference_params=cache)
    with pytest.raises(ConfigError, match=f"a batch of 1 cannot go on after one of {len(row)}"):
        model(row[:1], inference_params=cache)
    cache.reset(100, 4)
    model(row[..., :12], inference_params=cache)
    with pytest.raises(ConfigError, match="1 x 4 patches from column 3 of 4 on is neither of one"):
        model(row, inference_params=cache)
    with pytest.raises(ConfigError, match="inference_params={} is no cache: give vitrail.Inf"):
        model(row, inference_params={})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_seqlen='16' is not a whole number"):
        InferenceParams("16", 2)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_batch_size=0 is not a whole number of at least 1"):
        cache.reset(16, 0)
    with pytest.raises(ConfigError, match="batch_size_offset=1 is not supported: give each batch"):
        InferenceParams(16, 2, batch_size_offset=1, lengths_per_sample=None)
    for sizes in ({"dim": 12}, {"d_state": 3}):
        cache.reset(100, 4)
        tiny(scan="forward", pool="mean", **sizes)(row, inference_params=cache)
        with pytest.raises(ConfigError, match="is not of this layer, whose have .*: give each"):
            model(row, inference_params=cache)
    with pytest.raises(ConfigError, match="max_seqlen=-1 is not"):
        InferenceParams(-1, max_batch_size=1)


def test_what_cannot_be_stepped_says_so() -> None:
    model, cache = tiny(scan="v1", pairs="sum"), InferenceParams(13, 2, forward_only=True)
    with pytest.raises(TierError, match="the second layer of a pair starts at the end"):
        model(images(), inference_params=cache)
    with pytest.raises(TierError, match='scan="v2" reads later tokens too'):
        tiny()(images(), inference_params=InferenceParams(13, 2))
    with pytest.raises(TierError, match='pool="cls_middle": a class token stands among patches'):
        tiny(scan="forward")(images(size=(4, 16)), inference_params=InferenceParams(13, 2))
    model = tiny(scan="forward", pool="mean")
    with pytest.raises(ConfigError, match="12 tokens are more than max_seqlen=11"):
        model(images(), inference_params=InferenceParams(11, 2))
    with pytest.raises(ConfigError, match="a batch of 2 is larger than max_batch_size=1"):
        model(images(), inference_params=InferenceParams(12, 1))
    with pytest.raises(ConfigError, match="seqlen_offset=4, and there is no state of layer 0"):
        model(images(size=(4, 16)), inference_params=InferenceParams(12, 2, seqlen_offset=4))
    cache = InferenceParams(100, 2)
    model(images(), inference_params=cache)
    with pytest.raises(ConfigError, match="12 and 4 more patches are more than the 12 of image"):
        model(images(size=(4, 16)), inference_params=cache)
    cache.reset(12, 2)
    model(images(), inference_params=cache)


PARTS = {"rows": (4, 16), "patches": (4, 4), "half a row": (4, 8), "whole": (12, 16)}


def parts(batch: Tensor, size: tuple[int, int]) -> list[Tensor]:
    rows = batch.split(size[0], dim=2)
    return [part for row in rows for part in row.split(size[1], dim=3)]


@pytest.mark.parametrize("size", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("rope", ["none", "residual"])
@pytest.mark.parametrize("pool", ["last", "mean", "max", "all"])
def test_an_image_in_parts_is_the_image(pool: str, rope: str, size: tuple[int, int]) -> None:
    model = tiny(scan="forward", pool=pool, rope=rope, layer_scale=0.7, emb_dropout=0.5)
    batch, cache = images(), InferenceParams(PATCHES, 2)
    whole = model(batch)
    model.train()  # a cache turns dropout off
    for part in parts(batch, size):
        logits = model(part, inference_params=cache)
        assert not logits.requires_grad
    assert all(module.training for module in model.modules())
    assert cache.seqlen_offset == PATCHES
    assert list(cache.key_value_memory_dict) == [0, 1]
    scale = whole.abs().max()
    assert (logits - whole).abs().max() <= 1e-6 * max(1.0, scale)


@torch.no_grad()
def test_parts_in_double_precision() -> None:
    model = tiny(scan="forward", pool="mean", depth=3).double()
    batch, cache = images().double(), InferenceParams(PATCHES, 2)
    for part in parts(batch, (4, 4)):
        logits = model(part, inference_params=cache)
    torch.testing.assert_close(logits, model(batch), rtol=0, atol=1e-12)


@torch.no_grad()
def test_layer_scales_are_fused_into_the_weights() -> None:
    model = tiny(scan="forward", pool="mean", layer_scale=0.5, bias=True).double()
    batch, fused = images().double(), fuse(model)
    assert all(type(block.scale) is nn.Identity for block in fused.blocks)
    outputs = fused(batch, inference_params=InferenceParams(PATCHES, 2))
    torch.testing.assert_close(outputs, model(batch), rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_cache_holds_the_states_after_the_last_token() -> None:
    mixer = disturbed(Mamba(16, "forward", d_state=3)).double()
    x, cache = torch.randn(2, 7, 16, dtype=torch.double), InferenceParams(7, 2)
    mixer(x, inference_params=cache)
    state = cache.key_value_memory_dict[0]
    signal, z = mixer.in_proj(x).chunk(2, dim=-1)
    assert torch.equal(state.conv, signal[:, -4:].mT)
    states = scan_states(mixer._scan_inputs(signal, z, [False]), 0, False)
    torch.testing.assert_close(state.ssm, states[6], rtol=0, atol=1e-12)
