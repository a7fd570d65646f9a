"""The same weights in vit-pytorch and here give the same numbers.

vit-pytorch normalises before and after its patch projection, where the papers do not. No weights
make those two layers neutral, so they are taken out of it here; and it has no biases in attention,
so ours are zero. All else is as it comes.
"""

import pytest
import torch
from torch import nn
from vit_pytorch import SimpleViT as TheirSimpleViT
from vit_pytorch import ViT as TheirViT

import vitrail
from tests.parity.oracle import close, images, randomise

SEEDS = {"image_size": 32, "patch_size": 8, "num_classes": 7, "dim": 128, "depth": 3, "heads": 2}


def rearranged(ours: nn.Module, theirs: nn.Module) -> None:
    """Copies our weights into theirs."""
    blocks = theirs.transformer.layers
    patch, patch_norm = theirs.to_patch_embedding[2], theirs.to_patch_embedding
    patch_norm[1], patch_norm[3] = nn.Identity(), nn.Identity()
    with torch.no_grad():
        # Their patches are read pixel by pixel with channels last, ours channel by channel.
        patch.weight.copy_(ours.patch_embed.weight.permute(0, 2, 3, 1).flatten(1))
        patch.bias.copy_(ours.patch_embed.bias)
        for mine, (attention, feed_forward) in zip(ours.blocks, blocks, strict=True):
            out = (
                attention.to_out[0]
                if isinstance(attention.to_out, nn.Sequential)
                else attention.to_out
            )
            attention.norm.load_state_dict(mine.norm1.state_dict())
            attention.to_qkv.weight.copy_(mine.mixer.qkv.weight)
            mine.mixer.qkv.bias.zero_()
            out.weight.copy_(mine.mixer.proj.weight)
            if out.bias is None:
                mine.mixer.proj.bias.zero_()
            else:
                out.bias.copy_(mine.mixer.proj.bias)
            linear = [m for m in feed_forward.net if isinstance(m, nn.Linear)]
            feed_forward.net[0].load_state_dict(mine.norm2.state_dict())
            linear[0].load_state_dict(mine.mlp.fc1.state_dict())
            linear[1].load_state_dict(mine.mlp.fc2.state_dict())
        theirs.transformer.norm.load_state_dict(ours.norm.state_dict())


@pytest.mark.parametrize("pool", ["cls", "mean"])
@torch.inference_mode()
def test_vit(pool: str) -> None:
    theirs = TheirViT(**SEEDS, mlp_dim=96, pool=pool, dim_head=64).eval()
    ours = randomise(vitrail.ViT(**SEEDS, mlp_dim=96, pool=pool, norm_eps=1e-5))
    rearranged(ours, theirs)
    table = ours.position[0]
    if pool == "cls":
        theirs.cls_token.copy_(ours.class_token.reshape(theirs.cls_token.shape))
        table = torch.cat([torch.zeros_like(table[:1]), table])
    theirs.pos_embedding.copy_(table.reshape(theirs.pos_embedding.shape))
    theirs.mlp_head.load_state_dict(ours.head.state_dict())
    close(ours(images(32, 32)), theirs(images(32, 32)))


@torch.inference_mode()
def test_simple_vit() -> None:
    theirs = TheirSimpleViT(**SEEDS, mlp_dim=96, dim_head=64).eval()
    ours = randomise(vitrail.SimpleViT(**SEEDS, mlp_dim=96, norm_eps=1e-5))
    rearranged(ours, theirs)
    theirs.linear_head.load_state_dict(ours.head.state_dict())
    close(ours(images(32, 32)), theirs(images(32, 32)))


def test_the_seeds_model_is_built_as_they_write_it() -> None:
    model = vitrail.ViT(
        image_size=256, patch_size=32, num_classes=1000, dim=1024, depth=6, heads=16, mlp_dim=2048
    ).eval()
    with torch.inference_mode():
        assert model(torch.randn(1, 3, 256, 256)).shape == (1, 1000)
