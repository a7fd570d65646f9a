"""SimMIM and transformers' models for masked image modelling: the same loss and gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

import vitrail
from parity.oracle import close, images, randomise
from vitrail.methods.base import Batch
from vitrail.methods.masking import resize_mask
from vitrail.methods.simmim import SimMIM
from vitrail.models.base import Backbone


def vit(folder: Path) -> tuple[nn.Module, Backbone]:
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=48, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=96, encoder_stride=8,
    )  # fmt: skip
    original = randomise(transformers.ViTForMaskedImageModeling(config))
    original.vit.save_pretrained(folder)
    return original, vitrail.load(folder)


def swin(folder: Path) -> tuple[nn.Module, Backbone]:
    config = transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=16, depths=[2, 2, 2], num_heads=[2, 2, 4],
        window_size=4, encoder_stride=16, drop_path_rate=0.0,
    )  # fmt: skip
    original = randomise(transformers.SwinForMaskedImageModeling(config))
    original.save_pretrained(folder)
    return original, vitrail.load(folder)


@torch.no_grad()
def fill(method: SimMIM, original: Any) -> None:
    """Their weights beside the backbone's; the mask token less what they make of zeros."""
    embeddings = getattr(original, original.base_model_prefix).embeddings
    zeros = embeddings.patch_embeddings.projection.bias
    zeros = embeddings.norm(zeros) if hasattr(embeddings, "norm") else zeros
    method.mask_token.weight.copy_(embeddings.mask_token - zeros)
    method.head.weight.copy_(original.decoder[0].weight.flatten(1))
    method.head.bias.copy_(original.decoder[0].bias)


@pytest.mark.parametrize("build", [vit, swin])
def test_loss_and_gradients(build: Any, tmp_path: Path) -> None:
    original, backbone = build(tmp_path)
    method = SimMIM(backbone, mask_ratio=0.5)
    mask, size = method.sample_mask(3), backbone.image_size
    places = resize_mask(mask, method.layout.grid, method.layout.embedded_grid)
    for kind, limit in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        original, method = original.to(kind), method.to(kind)
        fill(method, original)
        original.zero_grad()
        method.zero_grad()
        pixels = images(*size, batch=3).to(kind)
        twin = pixels.clone().requires_grad_()
        theirs = original(twin, bool_masked_pos=places).loss
        ours = method(Batch(images=pixels.requires_grad_(), patch_mask=mask)).loss
        assert abs(ours - theirs) <= limit * theirs
        theirs.backward()
        ours.backward()
        largest = twin.grad.abs().max()
        close(pixels.grad / largest, twin.grad / largest, limit)
    theirs = original.decoder[0].weight.grad.flatten(1)
    close(method.head.weight.grad / theirs.abs().max(), theirs / theirs.abs().max(), 1e-9)
