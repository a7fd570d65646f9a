"""MP3: equal to vit-pytorch's, what a patch can know, and what becomes of positions."""

import pytest
import torch
from torch import nn

from parity.from_vit_pytorch import fill_mlp, fill_patches
from parity.oracle import close, randomise
from tests.models.small import small
from vitrail.errors import ConfigError, DataError, TierError
from vitrail.methods.base import Batch
from vitrail.methods.mp3 import MP3

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def theirs_of(method: MP3) -> nn.Module:
    """vit-pytorch's, with the same weights."""
    from vit_pytorch import mp3

    model, config = method.backbone, method.backbone.config
    names = ("image_size", "patch_size", "dim", "depth", "heads", "mlp_dim")
    vit = mp3.ViT(**{k: config[k] for k in names}, num_classes=5, dim_head=16)
    theirs = mp3.MP3(vit, masking_ratio=method.mask_ratio)
    with torch.no_grad():
        fill_patches(vit.to_patch_embedding, model.patch_embed)
        for mine, (attention, mlp) in zip(model.blocks, vit.transformer.layers, strict=True):
            attention.norm.load_state_dict(mine.norm1.state_dict())
            q, kv = mine.mixer.qkv.weight.split((config["dim"], 2 * config["dim"]))
            attention.to_q.weight.copy_(q)
            attention.to_kv.weight.copy_(kv)
            mine.mixer.qkv.bias.zero_()
            attention.to_out[0].load_state_dict(mine.mixer.proj.state_dict())
            fill_mlp(mlp, mine.norm2, mine.mlp)
        theirs.mlp_head[0].load_state_dict(model.norm.state_dict())
        theirs.mlp_head[1].load_state_dict(method.head.state_dict())
    return theirs.double()


def both(depth: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Our loss and theirs, with the same mask."""
    method = MP3(small("ViT", depth=depth, pool="mean", norm_eps=1e-5), mask_ratio=0.5)
    randomise(method)
    theirs = theirs_of(method)
    torch.manual_seed(3)
    expected = theirs(IMAGES.double())
    torch.manual_seed(3)
    masked = torch.rand(3, 16).argsort(dim=-1)[:, :8]
    mask = torch.zeros(3, 16, dtype=torch.bool).scatter(1, masked, True)
    return method.double()(Batch(images=IMAGES.double(), patch_mask=mask)).loss, expected


def test_equals_the_original_with_one_block() -> None:
    ours, theirs = both(depth=1)
    assert abs(ours - theirs) <= 1e-9


def test_the_original_has_the_keys_of_the_first_block_in_every_block() -> None:
    ours, theirs = both(depth=2)
    assert abs(ours - theirs) > 1e-6


@pytest.mark.parametrize("position", ["learned", "sincos", "rope"])
def test_patches_are_a_set_and_masked_ones_no_keys(position: str) -> None:
    method = MP3(small("ViT", position=position, registers=2), mask_ratio=0.5).double()
    images = IMAGES.double()
    mask = torch.arange(16) % 2 == 0
    mask = mask.expand(3, -1)
    encoded = method.encode_set(images, mask)
    rolled = method.encode_set(images.roll(8, 2), mask.unflatten(1, (4, 4)).roll(1, 1).flatten(1))
    close(rolled, encoded.unflatten(1, (4, 4)).roll(1, 1).flatten(1, 2), 1e-12)
    changed = images.clone()
    changed[..., :8, :8] += 1  # patch 0, which is masked
    other = method.encode_set(changed, mask)
    assert not torch.allclose(other[:, 0], encoded[:, 0])
    close(other[:, 1:], encoded[:, 1:], 1e-12)
    changed = images.clone()
    changed[..., :8, 8:16] += 1  # patch 1, which is visible
    assert not torch.allclose(method.encode_set(changed, mask)[:, 5], encoded[:, 5])


def test_it_learns_and_leaves_positions_as_they_were() -> None:
    torch.manual_seed(0)
    method = MP3(small("ViT"), mask_ratio=0.5).train()
    before = method.backbone.position.weight.clone()
    ramp = torch.linspace(-1, 1, 32)
    images = (ramp[:, None] + 3 * ramp).expand(4, 3, 32, 32) + 0.1 * torch.randn(4, 3, 32, 32)
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(30):
        loss, metrics = method(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0] and set(metrics) == {"position_accuracy"}
    assert torch.equal(method.backbone.position.weight, before)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(TierError, match="MP3 needs a ViT model, and SimpleViT is none"):
        MP3(small("SimpleViT"))
    with pytest.raises(ConfigError, match="residual_rope=True gives them away"):
        MP3(small("ViT", residual_rope=True))
    with pytest.raises(DataError, match="do not fit masks"):
        MP3(small("ViT"))(torch.zeros(1, 3, 64, 32))
