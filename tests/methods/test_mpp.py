"""MPP: how patches are corrupted, and which colors are asked for."""

import pytest
import torch
from torch import nn

from tests.methods.masked import assert_no_leak
from tests.models.small import small
from vitrail.errors import ConfigError, TierError
from vitrail.layers.patch import patchify
from vitrail.methods.base import Batch
from vitrail.methods.masking import random_mask, split_mask
from vitrail.methods.mpp import MPP
from vitrail.preprocess import Preprocess


@pytest.mark.parametrize("swap_ratio", [0.0, 0.4])
@pytest.mark.parametrize("model", ["ViT", "CCT", "VisionMamba", "Swin", "RegionViT"])
def test_what_is_asked_for_is_not_seen(model: str, swap_ratio: float) -> None:
    """Where no patch is kept as it is, none that is asked for reaches the encoder."""
    method = MPP(small(model), token_ratio=1 - swap_ratio, swap_ratio=swap_ratio)
    assert_no_leak(method, random_mask(2, method.layout.grid, 0.5))


def test_patches_become_tokens_others_or_stay() -> None:
    method = MPP(small("ViT", image_size=256))
    patches = torch.arange(20.0)[:, None, None] * 2000 + torch.arange(1024.0)[:, None].repeat(
        20, 1, 192
    )
    mask = random_mask(20, (32, 32), 0.5)
    kept, _ = split_mask(mask)
    changed, hidden = method.corrupt(patches, mask, kept)
    swapped = (changed != patches).all(-1)
    assert (
        not (hidden & ~mask).any() and not (swapped & ~mask).any() and not (hidden & swapped).any()
    )
    count = mask.sum()
    assert hidden.sum() / count == pytest.approx(0.8, abs=0.02)
    assert swapped.sum() / count == pytest.approx(0.1, abs=0.02)
    for b in range(20):  # others are whole patches of the same image, that are not corrupted
        others = changed[b][swapped[b]]
        assert set(others[:, 0].tolist()) <= set(patches[b][kept[b], 0].tolist())
        assert (others == others[:, :1]).all()


def test_colours_are_classes_of_what_was_before_normalisation() -> None:
    model = small("ViT", image_size=(16, 8))
    model.preprocess = Preprocess((16, 8), None, mean=(0.0,) * 3, std=(1.0,) * 3)
    method = MPP(model)
    colors = torch.tensor([[0.0, 0.3, 1.0], [0.49, 0.51, 0.126]])  # of two patches
    images = colors.T.reshape(1, 3, 2, 1, 1, 1).expand(1, 3, 2, 8, 1, 8).reshape(1, 3, 16, 8)
    wanted = [[0 + 2 * 8 + 7 * 64, 3 + 4 * 8 + 1 * 64]]
    assert method.color_classes(patchify(images, (8, 8))).tolist() == wanted
    model.preprocess = Preprocess((16, 8), None)
    normalised = model.preprocess.normalise((images * 255).round().to(torch.uint8))
    assert method.color_classes(patchify(normalised, (8, 8))).tolist() == wanted


def test_the_loss_is_that_of_vit_pytorch_where_that_runs() -> None:
    """Its class `MPP` fails on its own ViT, but its loss can be asked alone."""
    from vit_pytorch.mpp import MPPLoss

    model = small("ViT")
    model.preprocess = Preprocess((32, 32), None)
    method = MPP(model, token_ratio=0, swap_ratio=0).double()  # nothing random but the mask
    images = torch.randn(3, 3, 32, 32).double()
    mask = random_mask(3, (4, 4), 0.5)
    logits = method.head(model.features(images).patches)
    theirs = MPPLoss(8, 3, 3, 1.0, list(model.preprocess.mean), list(model.preprocess.std))
    theirs.mean, theirs.std = theirs.mean.double(), theirs.std.double()
    found, metrics = method(Batch(images=images, patch_mask=mask))
    assert abs(found - theirs(logits, images, mask)) < 1e-6  # it has its mean and std in float32
    assert 0 <= metrics["color_accuracy"] <= 1


def test_accuracy_is_the_fraction_of_the_masked_patches() -> None:
    method = MPP(small("ViT"), token_ratio=0, swap_ratio=0)
    nn.init.zeros_(method.head.weight)
    nn.init.zeros_(method.head.bias)  # predicts class 0, black
    images = torch.full((1, 3, 32, 32), -9.0)
    images[:, :, :8] = 9.0  # the first four patches are white
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 2 : 2 + 16 - method.visible_count] = True
    white = 2 / int(mask.sum())
    _, metrics = method(Batch(images=images, patch_mask=mask))
    assert metrics["color_accuracy"].item() == pytest.approx(1 - white)


def test_settings_are_checked() -> None:
    for settings, problem in (
        ({"bits": 5}, "bits=5 in 3 channels are 32768 colors, more than 4096"),
        ({"bits": 0}, "bits=0 is not a whole number of at least 1"),
        (
            {"token_ratio": 0.95},
            "token_ratio=0.95 and swap_ratio=0.1 add up to more than 1",
        ),
        ({"mask_ratio": 0.99}, "masks all"),
    ):
        with pytest.raises(ConfigError, match=problem):
            MPP(small("ViT"), **settings)
    MPP(small("ViT"), token_ratio=0.8, swap_ratio=0.2)  # 1 − 0.8 is a little less than 0.2
    with pytest.raises(TierError, match="needs a SequenceBackbone or PyramidBackbone"):
        MPP(small("CrossViT"))


def test_it_learns_in_half_precision() -> None:
    method = MPP(small("ViT"), bits=1).train()
    images = torch.rand(6, 3, 1, 1).expand(6, 3, 32, 32)  # the colour of one is that of all
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        with torch.autocast("cpu", torch.bfloat16):
            loss = method(Batch(images=images)).loss
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
