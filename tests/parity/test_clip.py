"""CLIP and SigLIP with both towers: equal weights in transformers, equal logits and losses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

import vitrail
from parity.oracle import close, images, randomise
from parity.pairs.clip_vit import MARKS, TEXT, VISION
from vitrail.data.text import Tokenizer
from vitrail.errors import LoadError
from vitrail.hub.method_folder import load_method
from vitrail.methods.base import Batch
from vitrail.methods.clip import CLIP

KINDS = {
    "clip": (transformers.CLIPConfig, transformers.CLIPModel),
    "clip gelu": (transformers.CLIPConfig, transformers.CLIPModel),
    "clip old": (transformers.CLIPConfig, transformers.CLIPModel),
    "siglip": (transformers.SiglipConfig, transformers.SiglipModel),
}


def pair(kind: str, folder: Path, **text: Any) -> tuple[CLIP, Any]:
    """Ours and theirs, small, in double precision."""
    config, model = KINDS[kind]
    act = {"hidden_act": "gelu"} if kind == "clip gelu" else {}
    marks = {**MARKS, "eos_token_id": 2} if kind == "clip old" else MARKS
    if kind == "siglip":
        settings, marks = {}, {"projection_size": VISION["hidden_size"]}
    else:
        settings = {"projection_dim": 24}
    made = config(
        vision_config={**VISION, **act}, text_config={**TEXT, **marks, **act, **text}, **settings
    )
    original = randomise(model(made))
    with torch.no_grad():
        original.logit_scale.fill_(2.5)
        if kind == "siglip":
            original.logit_bias.fill_(-1.25)
    original.save_pretrained(folder)
    method = load_method(folder)
    assert isinstance(method, CLIP)
    return method.double(), original.double()


def captions(count: int, end: int = 98) -> Tensor:
    """Ids of captions of several lengths, behind whose end stands padding."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(3, 97, (count, 12), generator=generator)
    ids[:, 0] = 97
    for row, length in enumerate((5, 12, 3, 8, 7)[:count]):
        ids[row, length - 1] = end
        ids[row, length:] = 0
    return ids


@pytest.mark.parametrize("kind", KINDS)
def test_logits_loss_and_gradients(kind: str, tmp_path: Path) -> None:
    ours, theirs = pair(kind, tmp_path)
    ids, pixels = captions(5), images(32, 32, batch=5).double().requires_grad_()
    twin = pixels.detach().clone().requires_grad_()
    expected = theirs(pixel_values=twin, input_ids=ids, return_loss=True)
    close(ours.logits(pixels, ids), expected.logits_per_image, 1e-9)
    loss = ours(Batch(images=pixels, captions=ids)).loss
    assert abs(loss - expected.loss) <= 1e-9
    loss.backward()
    expected.loss.backward()
    assert twin.grad.std() > 1e-4
    assert (pixels.grad - twin.grad).abs().max() <= 1e-9
    text, theirs_text = ours.text.words.weight.grad, theirs.text_model.embeddings.token_embedding
    assert (text - theirs_text.weight.grad).abs().max() <= 1e-9
    assert abs(ours.log_scale.grad - theirs.logit_scale.grad) <= 1e-9


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_logits_in_single_precision(kind: str, tmp_path: Path) -> None:
    ours, theirs = (model.float() for model in pair(kind, tmp_path))
    pixels, ids = images(32, 32, batch=5), captions(5)
    close(ours.logits(pixels, ids), theirs(pixel_values=pixels, input_ids=ids).logits_per_image)
    loss = ours(Batch(images=pixels, captions=ids)).loss
    assert abs(loss - theirs(ids, pixels, return_loss=True).loss) <= 1e-5


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@torch.no_grad()
def test_the_image_tower_alone(kind: str, tmp_path: Path) -> None:
    theirs = pair(kind, tmp_path)[1].float()
    model = vitrail.load(tmp_path, image_size=(48, 40))
    expected = theirs.vision_model(images(48, 40), interpolate_pos_encoding=True)
    close(model(images(48, 40)), expected.pooler_output)
    patches = theirs.vision_model(images(48, 40), interpolate_pos_encoding=True).last_hidden_state
    if kind == "clip":  # theirs leaves them as the last block gives them
        patches = theirs.vision_model.post_layernorm(patches[:, 1:])
    close(model.features(images(48, 40)).patches, patches)


def test_the_folders_tokenizer_comes_along(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(["a photo of a cat", "a dog"], 300)
    ours, _ = pair("clip", tmp_path, vocab_size=310, eos_token_id=tokenizer.end)
    with pytest.raises(LoadError, match="the tokenizer of this method was not saved"):
        ours.encode_text(["a cat"])
    tokenizer.save(tmp_path / "tokenizer.json")
    told = json.loads((tmp_path / "tokenizer.json").read_text())
    told["truncation"] = told["padding"] = None  # as published
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    ours = load_method(tmp_path)
    assert (ours.tokenizer.vocabulary, ours.tokenizer.context) == (310, 12)
    ours.text.end = tokenizer.end  # 2, which in a config of CLIP means the highest id
    ids = ours.tokenizer(["a cat", "a photo of a dog"])
    assert torch.equal(ids, tokenizer(["a cat", "a photo of a dog"])[:, :12])
    assert torch.equal(ours.encode_text(["a cat"]), ours.encode_text(ids[:1]))


def test_what_is_not_supported_is_refused(tmp_path: Path) -> None:
    pair("clip", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())

    def changed(tower: str, **settings: Any) -> None:
        told = {**config, tower: {**config[tower], **settings}}
        (tmp_path / "config.json").write_text(json.dumps(told))

    changed("vision_config", hidden_act="relu")
    with pytest.raises(LoadError, match="hidden_act='relu' .* only gelu, quick_gelu"):
        vitrail.load(tmp_path)
    changed("text_config", layer_norm_eps=1e-3)
    with pytest.raises(LoadError, match="layer_norm_eps=0.001"):
        load_method(tmp_path)
    changed("vision_config")
    weights = load_file(tmp_path / "model.safetensors")
    images_only = {n: t for n, t in weights.items() if not n.startswith("text")}
    save_file(images_only, tmp_path / "model.safetensors")
    with pytest.raises(LoadError, match="no text tower"):
        load_method(tmp_path)
