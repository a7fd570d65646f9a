"""The walk, the scans, windows, the baseline and sentences say what PyTorch says."""

from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from tests.explorer.conftest import picture, tiny_clip, tiny_vim, tiny_vit
from tests.models.small import images_for, small
from vitrail.errors import ConfigError, TierError
from vitrail.explorer.arrays import decode_array
from vitrail.explorer.documents import Explorer
from vitrail.explorer.scan import surviving
from vitrail.explorer.walk import walk_values
from vitrail.lens.position import position_baseline
from vitrail.lens.trace import patch_maps, trace_attention
from vitrail.ops.selective_scan import Scan

Document = dict[str, Any]


def numbers(document: Document, name: str) -> torch.Tensor:
    return decode_array(document[name]).float()


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected.detach().float(), rtol=0, atol=1e-5)


@torch.no_grad()
def test_every_number_of_the_walk_is_the_models(explorer: Explorer, photo: Path) -> None:
    """The walk beside the forward pass, written out once more by hand."""
    model, patch, token, layer = explorer.model, 6, 7, 1
    walk = explorer.walk_document(explorer.sample(0)["id"], layer, patch)
    images = model.preprocess(str(photo))
    block = model.blocks[layer]
    close(numbers(walk, "pixels"), images[0, :, 8:16, 16:24])  # row 1, column 2
    embed = model.patch_embed
    vector = embed.weight.flatten(1) @ images[0, :, 8:16, 16:24].flatten() + embed.bias
    close(numbers(walk, "embedded"), vector)
    embedded = model.embed(images)
    close(numbers(walk, "token"), embedded.patches[0, patch])
    x = torch.cat([embedded.prefix, embedded.patches], 1)
    x = model.blocks[0](x)
    close(numbers(walk, "input"), x[0, token])
    y = block.norm1(x)
    close(numbers(walk, "normed"), y[0, token])
    q, k, v = block.mixer.qkv(y)[0].view(17, 3, 2, 8).unbind(1)  # (17, heads, 8)
    close(numbers(walk, "query"), q[token])
    for head in range(2):
        logits = k[:, head] @ q[token, head] / 8**0.5
        close(numbers(walk, "logits")[head], logits)
        weights = logits.softmax(0)
        close(numbers(walk, "weights")[head], weights)
        top = weights.argsort(descending=True)[:6].tolist()
        assert walk["top"][head] == top
        close(numbers(walk, "keys")[head], k[top, head])
        close(numbers(walk, "values")[head], v[top, head])
        close(numbers(walk, "mixed")[head], weights @ v[:, head])
    middle = x + block.mixer(y)
    close(numbers(walk, "middle"), middle[0, token])
    hidden = block.mlp.fc1(block.norm2(middle))
    close(numbers(walk, "hidden"), hidden[0, token])
    close(numbers(walk, "activated"), torch.nn.functional.gelu(hidden)[0, token])
    close(numbers(walk, "output"), block(x)[0, token])
    pooled = model.pool(model.features(images))[0]
    close(numbers(walk, "pooled"), pooled)
    logits = model(images)[0]
    assert [row["index"] for row in walk["classes"]] == logits.argsort(descending=True).tolist()
    likeliest = walk["classes"][0]
    assert likeliest["value"] == pytest.approx(logits.softmax(0).max().item())
    close(numbers(walk, "head") @ numbers(walk, "pooled") + walk["head_bias"], logits.max())


@pytest.mark.parametrize(
    ("layer", "patch", "message"), [(3, 0, "block 3"), (0, 16, "patch=16"), (0, -1, "patch=-1")]
)
def test_a_walk_of_nothing_is_one_line(
    explorer: Explorer, layer: int, patch: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        explorer.walk_document(explorer.sample(0)["id"], layer, patch)


@pytest.mark.parametrize("name", ["Swin", "VisionMamba", "CaiT", "CrossViT", "ATSViT"])
def test_models_without_a_walk_say_so(name: str, photo: Path) -> None:
    explorer = Explorer(small(name).eval(), name, [photo])
    assert "ViT has" in explorer.model_document()["walk"]
    with pytest.raises(TierError, match=name):
        explorer.walk_document(explorer.sample(0)["id"], 0, 0)


@pytest.mark.parametrize("backwards", [False, True])
def test_survival_is_that_of_the_state(backwards: bool) -> None:
    """The state is run with the input of one token alone, in float64."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    u, delta, B = random(1, 1, 6, 3), random(1, 1, 6, 3), random(1, 1, 6, 2)
    A, bias = -random(1, 3, 2).exp(), random(1, 3)
    scan = Scan(u, delta, A, B, B, torch.zeros(1, 3).double(), bias, None)
    fractions = surviving(scan, 0, backwards)[0]
    step = torch.nn.functional.softplus(delta + bias[:, None, None])[0, 0]
    order = list(range(5, -1, -1)) if backwards else list(range(6))
    for begin, s in enumerate(order):
        written = (step[s] * u[0, 0, s])[:, None] * B[0, 0, s]
        state = written
        for t in order[begin:]:
            state = state if t == s else torch.exp(step[t, :, None] * A[0]) * state
            expected = state.abs().sum() / written.abs().sum()
            torch.testing.assert_close(fractions[s, t], expected)
        assert not fractions[s, order[:begin]].any()  # the scan was there before


def test_the_scan_is_in_the_order_of_its_tokens(photo: Path) -> None:
    model = tiny_vim()
    explorer = Explorer(model, "Vim", [photo])
    key = explorer.sample(0)["id"]
    scan = explorer.scan_document(key, 1)
    assert scan["order"] == [*range(1, 9), 0, *range(9, 17)]  # the class token in the middle
    assert [row["backwards"] for row in scan["directions"]] == [False, True]
    left = decode_array(scan["array"])
    close(left.diagonal(dim1=1, dim2=2).float(), torch.ones(2, 17))
    assert left[0, 8, 0] > 0 and left[0, 0, 8] == 0  # patch 7 is read before the class token
    assert left[1, 0, 8] > 0 and left[1, 8, 0] == 0
    assert left[0, 1, 2] > left[0, 1, 3] > left[0, 1, 4]
    assert model.blocks[1].mixer.scan_recorder is None
    attentive = Explorer(tiny_vit(), "ViT", [photo])
    with pytest.raises(TierError, match="no scan"):
        attentive.scan_document(attentive.sample(0)["id"], 0)


def test_the_baseline_is_that_of_position_baseline(photo: Path) -> None:
    explorer = Explorer(tiny_vim(), "Vim", [photo])
    key = explorer.sample(0)["id"]
    document = explorer.attention_document(key, 1, baseline=True)
    assert document["baseline"] is True
    images = explorer.model.preprocess(str(photo))
    trace = trace_attention(explorer.model, images, query=(1, 2))
    baseline = position_baseline(explorer.model, images, trace)
    maps = patch_maps(decode_array(document["array"]).float(), (4, 4), 1, (1, 2))
    close(maps, baseline.attention[1][0])
    assert (maps - trace.attention[1][0]).abs().max() > 1e-4


def test_windows_come_with_their_cells(photo: Path) -> None:
    model = small("Swin").eval()
    explorer = Explorer(model, "Swin", [photo])
    document = explorer.attention_document(explorer.sample(0)["id"], 1)
    assert document["grid"] == [16, 16] and document["array"]["shape"] == [2, 16, 16, 16]
    assert sorted(cell for cells in document["cells"] for cell in cells) == list(range(256))
    with torch.no_grad(), vitrail.record(model) as maps:
        model(model.preprocess(str(photo)))
    close(decode_array(document["array"]).float(), maps[1].transpose(0, 1))


def test_sentences_are_those_of_lens(photo: Path) -> None:
    clip = tiny_clip()
    explorer = Explorer(clip.backbone, "CLIP", [photo], clip=clip)
    assert explorer.model_document()["sentences"] is True
    key = explorer.sample(0)["id"]
    document = explorer.text_document(key, "a cat")
    images = clip.backbone.preprocess(str(photo))
    expected = vitrail.lens.text_similarity(clip, images, ["a cat"])[0, 0]
    close(decode_array(document["array"]).float(), expected)
    assert document["cosine"] == pytest.approx(clip.similarity(images, ["a cat"]).item())
    for text in ("", "  ", "a" * 301):
        with pytest.raises(ConfigError, match="1 to 300 characters"):
            explorer.text_document(key, text)
    with pytest.raises(TierError, match="reads no text"):
        Explorer(clip.backbone, "ViT", [photo]).text_document(key, "a cat")


def test_a_second_model_has_its_own_documents(tmp_path: Path) -> None:
    photo = picture(tmp_path)
    second = Explorer(tiny_vim(), "runs/vim", [photo])
    explorer = Explorer(tiny_vit(), "runs/vit", [photo], second=second)
    assert explorer.model_document()["second"] == "runs/vim"
    assert second.model_document()["second"] == ""


@pytest.mark.parametrize("name", ["CLIPViT", "DeiT", "SigLIPViT", "SimpleViT", "ViT"])
def test_every_model_with_a_walk_walks_through_its_own_blocks(name: str) -> None:
    model = small(name).eval()
    images = images_for(model, 1)
    walk = walk_values(model, images, 1, 5)
    with torch.no_grad():
        stage = model.intermediates(images, [1])[0]
        probabilities = model.outputs.activate(model(images))[0]
    close(numbers(walk, "output"), stage.patches[0, 5])
    assert walk["prefix"] == stage.prefix.shape[1]
    close(numbers(walk, "token"), model.embed(images).patches[0, 5])
    weights, logits = numbers(walk, "weights"), numbers(walk, "logits")
    close(logits.softmax(-1), weights)
    close(weights.sum(-1), torch.ones(len(weights)))
    if model.num_classes:
        likeliest = walk["classes"][0]
        assert likeliest["index"] == probabilities.argmax()
        assert likeliest["value"] == pytest.approx(probabilities.max().item(), abs=1e-5)
