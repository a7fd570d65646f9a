"""MAE and transformers' ViTMAE: the same weights and noise, the same loss."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers

import vitrail
from parity.oracle import close, images, randomise
from vitrail.errors import LoadError
from vitrail.hub.method_folder import load_method
from vitrail.layers.patch import unpatchify
from vitrail.layers.position import sincos_positions
from vitrail.methods.base import Batch
from vitrail.methods.mae import MAE
from vitrail.methods.masking import shuffle_mask

SMALL: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "hidden_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "intermediate_size": 96, "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 2, "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 80, "mask_ratio": 0.6,
}  # fmt: skip


def saved(folder: Path, **settings: Any) -> Any:
    config = transformers.ViTMAEConfig(**SMALL, **settings)
    original = randomise(transformers.ViTMAEForPreTraining(config))
    with torch.no_grad():
        original.decoder.decoder_pos_embed[:, 0] = 0  # as in all published: the class token's
    original.save_pretrained(folder)
    return original


@pytest.mark.parametrize("norm_pixels", [True, False])
def test_loss_and_gradients(tmp_path: Path, norm_pixels: bool) -> None:
    original, method = saved(tmp_path, norm_pix_loss=norm_pixels), load_method(tmp_path)
    for kind, limit in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        original, method = original.to(kind), method.to(kind)
        original.zero_grad()
        method.zero_grad()
        noise, pixels = torch.rand(3, 16, dtype=kind), images(32, 32, batch=3).to(kind)
        twin = pixels.clone().requires_grad_()
        theirs = original(twin, noise=noise).loss
        ours = method(
            Batch(images=pixels.requires_grad_(), patch_mask=shuffle_mask(noise, 0.6))
        ).loss
        assert abs(ours - theirs) <= limit * theirs
        theirs.backward()
        ours.backward()
        largest = twin.grad.abs().max()
        close(pixels.grad / largest, twin.grad / largest, limit)
    decoder = original.decoder
    for mine, other in (
        (method.decoder.mask_token.weight, decoder.mask_token),
        (method.decoder.embed.weight, decoder.decoder_embed.weight),
        (method.backbone.norm.weight, original.vit.layernorm.weight),
        (method.backbone.class_token.weight, original.vit.embeddings.cls_token),
    ):
        largest = other.grad.abs().max()
        close(mine.grad / largest, other.grad / largest, 1e-9)


@torch.no_grad()
def test_prediction_has_the_order_of_our_patches(tmp_path: Path) -> None:
    original, method = saved(tmp_path), load_method(tmp_path)
    noise, pixels = torch.rand(2, 16), images(32, 32)
    theirs = original.unpatchify(original(pixels, noise=noise).logits)
    mask, hidden, predicted = method._predict(
        Batch(images=pixels, patch_mask=shuffle_mask(noise, 0.6))
    )
    cells = torch.zeros(2, 16, 192).scatter(1, hidden[..., None].expand_as(predicted), predicted)
    where = unpatchify(mask[..., None].expand(-1, -1, 192).float(), (8, 8), (4, 4))
    close(unpatchify(cells, (8, 8), (4, 4)), theirs * where)


@torch.inference_mode()
def test_the_encoder_is_a_vit(tmp_path: Path) -> None:
    original = saved(tmp_path / "whole")
    original.vit.save_pretrained(tmp_path / "encoder")
    whole, alone = vitrail.load(tmp_path / "whole"), vitrail.load(tmp_path / "encoder")
    assert type(whole).__name__ == "ViT" and whole.num_classes == 0
    original.vit.config.mask_ratio = 0.0  # all in view, in the order of the noise
    noise = torch.arange(16.0).expand(2, -1)
    for model in (whole, alone):
        features = model.features(images(32, 32))
        theirs = original.vit(images(32, 32), noise=noise).last_hidden_state
        close(torch.cat([features.prefix, features.patches], dim=1), theirs)
    with pytest.raises(LoadError, match="an encoder without a decoder"):
        load_method(tmp_path / "encoder")


@torch.no_grad()
def test_names_of_published_files(tmp_path: Path) -> None:
    """Those that transformers 4 wrote, as facebook/vit-mae-base has them."""
    saved(tmp_path)
    pixels, mask = images(32, 32), shuffle_mask(torch.rand(2, 16), 0.6)
    loss = load_method(tmp_path)(Batch(images=pixels, patch_mask=mask)).loss
    file = tmp_path / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    named = {k.replace("decoder_encoder.layer", "decoder_layers"): v for k, v in tensors.items()}
    assert named.keys() != tensors.keys()
    safetensors.torch.save_file(named, file, {"format": "pt"})
    assert load_method(tmp_path)(Batch(images=pixels, patch_mask=mask)).loss == loss


def test_what_has_no_place_is_refused(tmp_path: Path) -> None:
    original = saved(tmp_path)
    with torch.no_grad():
        original.decoder.decoder_pos_embed[:, 0] = 1
    original.save_pretrained(tmp_path)
    with pytest.raises(LoadError, match="class token has a position"):
        load_method(tmp_path)


def test_fresh_positions_are_the_published_ones() -> None:
    """As transformers means to make them; what it makes of a fresh model is zeros."""
    from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

    vit = vitrail.create_model("vit_tiny_patch16_224", image_size=64)
    table = MAE(vit, decoder_dim=32, decoder_heads=2).decoder.position[0]
    rows, columns = build_2d_sinusoidal_position_embedding(4, 4, 32).chunk(2, dim=1)
    assert torch.equal(table, torch.cat([columns, rows], dim=1))
    assert not torch.allclose(table, sincos_positions((4, 4), 32)[0].float(), atol=0.01)
