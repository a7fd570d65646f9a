"""RegionViT against its authors' code, and what vit-pytorch's file has wrong."""

import functools
import re

import einops
import pytest
import torch
from vit_pytorch.regionvit import RegionViT as TheirRegionViT

import vitrail
from parity.oracle import close, images, randomise

SMALL = {
    "image_size": 96, "num_classes": 7, "dim": (32, 64, 128), "depth": (2, 1, 2),
    "heads": (1, 2, 4), "window": 3, "norm_eps": 1e-5,
}  # fmt: skip
# What https://github.com/IBM/RegionViT computes at commit ebe1aa9 with our weights.
AUTHORS = [
    0.21050108553, 0.082105266486, 0.466829474846, -1.06524782365, 0.626528151896,
    -0.163116731756, 1.422440315555,
]  # fmt: skip


def randomised() -> torch.nn.Module:
    model = vitrail.create_model("regionvit_tiny_224", **SMALL)
    names = functools.partial(re.sub, r"bias\.table$", "bias.bias_table")
    return randomise(model, by_name=True, old_name=names).double()


@torch.inference_mode()
def test_equals_the_authors_code() -> None:
    ours = randomised()
    logits = ours(images(96, 96, batch=1).double())
    close(logits[0], torch.tensor(AUTHORS, dtype=torch.double), 1e-9)


@torch.inference_mode()
def test_padding_is_masked() -> None:
    """The authors' mask forgets the last region; ours is the same on all sides."""
    ours = randomised()
    odd = images(60, 84, batch=1).double()  # 5 × 7 regions, then 3 × 4, then 2 × 2
    features = ours.blocks[0](ours.embed(odd))
    hooks = [block.register_forward_pre_hook(poison) for block in ours.blocks[1].blocks]
    poisoned = ours.blocks[1](features)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(poisoned.extras[0], ours.blocks[1](features).extras[0])


def poison(
    _block: torch.nn.Module, arguments: tuple[torch.Tensor, int, torch.Tensor]
) -> tuple[torch.Tensor, int, torch.Tensor]:
    """Makes the local tokens large that are masked."""
    tokens, regions, mask = arguments
    masked = mask[:, 0, 0, :, None].isinf()
    assert masked.any()
    return tokens.masked_fill(masked, 9.0), regions, mask


def test_vit_pytorch_fails_where_regions_do_not_halve() -> None:
    theirs = TheirRegionViT(num_classes=7)
    with pytest.raises(einops.EinopsError):
        theirs(images(84, 84))  # 3 × 3 regions, then 2 × 2 of 11 × 11 places
    assert vitrail.create_model("regionvit_tiny_224", num_classes=7)(images(84, 84)).shape == (2, 7)


def test_vit_pytorch_takes_colour_only() -> None:
    with pytest.raises(RuntimeError, match="expected input.* to have 3 channels"):
        TheirRegionViT(channels=1)(images(224, 224, channels=1))


def test_vit_pytorch_has_four_heads_of_32_at_every_width() -> None:
    last = TheirRegionViT().layers[-1][-1].layers[0][0]
    assert last.to_qkv.weight.shape == (3 * 4 * 32, 512)
    ours = vitrail.create_model("regionvit_tiny_224").blocks[-1].blocks[0].block.mixer
    assert ours.qkv.weight.shape == (3 * 16 * 32, 512)
