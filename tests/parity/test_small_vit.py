"""What the paper on small datasets says, and vit-pytorch does otherwise."""

import pytest
import torch
from torch import nn
from vit_pytorch.vit_for_small_dataset import SPT
from vit_pytorch.vit_for_small_dataset import ViT as TheirSmallViT

import vitrail
from tests.models.small import small
from vitrail.models.small_vit import LocalityAttend, ShiftedPatchEmbed


def test_shifts_are_half_a_patch_and_diagonal() -> None:
    """Theirs shifts by one pixel, along the axes."""
    image = torch.arange(1.0, 65).reshape(1, 1, 8, 8)  # one patch, every pixel another number
    theirs = SPT(dim=5 * 64, patch_size=8, channels=1)
    theirs.to_patch_tokens = theirs.to_patch_tokens[:1]
    shifts = theirs(image).reshape(8, 8, 5).permute(2, 0, 1)
    assert torch.equal(shifts[1, :, 1:], image[0, 0, :, :-1])

    ours = ShiftedPatchEmbed((8, 8), 1, 5 * 64)
    ours.norm = ours.proj = nn.Identity()
    tokens, grid = ours(image)
    itself, *shifted = tokens.reshape(5, 8, 8)
    assert grid == (1, 1)
    assert torch.equal(itself, image[0, 0])
    last, first = slice(4, 8), slice(0, 4)
    for copy, (to, start) in zip(
        shifted,
        [((last, last), (first, first)), ((last, first), (first, last)),
         ((first, last), (last, first)), ((first, first), (last, last))],
        strict=True,
    ):  # fmt: skip
        assert torch.equal(copy[to], image[0, 0][start])
        assert copy.count_nonzero() == 16, "zeros come in from beyond the edges"


def test_patches_need_not_be_square() -> None:
    """Theirs takes a pair, checks it, and then multiplies it by itself."""
    sizes = {"image_size": (32, 32), "patch_size": (8, 4), "num_classes": 5}
    with pytest.raises(TypeError, match="can't multiply sequence"):
        TheirSmallViT(**sizes, dim=32, depth=1, heads=2, mlp_dim=48)
    ours = vitrail.create_model("sl_vit_patch8_64", **sizes)
    assert ours(torch.randn(1, 3, 32, 32)).shape == (1, 5)


def test_each_head_has_its_temperature_and_no_token_sees_itself() -> None:
    """One number for all heads in theirs; the authors' code has one a head."""
    model = small("SmallViT")
    mixer = model.blocks[0].mixer
    assert isinstance(mixer.attend, LocalityAttend)
    with torch.no_grad():
        mixer.attend.temperature.copy_(torch.tensor([0.3, 1.7]))
    x = torch.randn(2, 6, 32)
    q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in mixer.qkv(x).chunk(3, dim=-1))
    logits = q @ k.mT * mixer.attend.temperature[:, None, None]
    weights = logits.masked_fill(torch.eye(6, dtype=torch.bool), -torch.inf).softmax(-1)
    expected = mixer.proj((weights @ v).transpose(1, 2).flatten(2))
    features = model.embed(torch.randn(2, 3, 16, 24))._replace(patches=x[:, 1:], prefix=x[:, :1])
    torch.testing.assert_close(mixer(x, *model.context(features)), expected)
    with vitrail.record(model) as maps:
        model(torch.randn(2, 3, 32, 32))
    assert all(not m.diagonal(dim1=-2, dim2=-1).any() for m in maps.values())
