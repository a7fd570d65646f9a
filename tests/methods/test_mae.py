"""MAE: what the encoder sees, what the loss asks for, what the pictures show."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.methods.masked import assert_no_leak, build, cases, without_gradient
from tests.models.small import small
from vitrail.errors import ConfigError, DataError, TierError
from vitrail.layers.patch import patchify, unpatchify
from vitrail.layers.tokens import take
from vitrail.methods.base import Batch
from vitrail.methods.mae import MAE
from vitrail.methods.masking import random_mask, split_mask, zero_cells
from vitrail.models.tiers import SequenceBackbone

LIGHT: dict[str, Any] = {"decoder_dim": 24, "decoder_depth": 1, "decoder_heads": 2}
MODELS, IDS = cases((SequenceBackbone,))
VIDEO = {"image_size": (4, 16, 16), "patch_size": (1, 8, 8)}


@pytest.mark.parametrize(("model", "more"), MODELS, ids=IDS)
def test_hidden_pixels_do_not_leak(model: str, more: dict[str, Any]) -> None:
    if method := build(MAE, model, more, **LIGHT, mask_ratio=0.5):
        assert_no_leak(method, method.sample_mask(2))


@pytest.mark.parametrize(("model", "more"), MODELS, ids=IDS)
def test_every_parameter_learns(model: str, more: dict[str, Any]) -> None:
    more = {**more, "token_dropout": 0, "token_dropout_largest": None} if model == "NaViT" else more
    if method := build(MAE, model, more, **LIGHT):
        assert without_gradient(method) == []


def test_the_encoder_gets_what_is_in_view_only() -> None:
    model = small("ViT", registers=2)
    method, lengths = MAE(model, **LIGHT), []
    model.blocks[0].register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    method(Batch(images=torch.rand(2, 3, 32, 32)))
    assert lengths == [1 + 2 + 4]  # of 16 patches a quarter


def test_class_blocks_learn_because_the_decoder_reads_them() -> None:
    assert all(p.requires_grad for p in MAE(small("CaiT"), **LIGHT).parameters())


@pytest.mark.parametrize("norm_pixels", [True, False])
def test_the_loss_is_that_of_the_paper(norm_pixels: bool) -> None:
    """Written out patch by patch, with mask tokens put where they belong in the grid."""
    method = MAE(small("ViT"), **LIGHT, norm_pixels=norm_pixels).double()
    images, mask = torch.rand(2, 3, 32, 32).double(), random_mask(2, (4, 4), 0.75)
    kept, _ = split_mask(mask)
    features = method.backbone.embed(images)
    seen, decoder = method.backbone.encode(features.take(kept)), method.decoder
    grid = decoder.mask_token(2).repeat(1, 16, 1)
    for b in range(2):
        grid[b, kept[b]] = decoder.embed(seen.patches[b])
    x = torch.cat([decoder.embed(seen.prefix), grid + decoder.position], dim=1)
    for block in decoder.blocks:
        x = block(x)
    predicted = decoder.head(decoder.norm(x))[:, 1:]
    total, count = 0.0, 0
    for b in range(2):
        for place in range(16):
            if mask[b, place]:
                y, x0 = divmod(place, 4)
                patch = images[b, :, 8 * y : 8 * y + 8, 8 * x0 : 8 * x0 + 8].flatten()
                if norm_pixels:
                    patch = (patch - patch.mean()) / (patch.var() + 1e-6) ** 0.5
                total, count = total + ((predicted[b, place] - patch) ** 2).mean(), count + 1
    assert count == 24
    assert abs(method(Batch(images=images, patch_mask=mask)).loss - total / count) < 1e-12


@pytest.mark.parametrize("norm_pixels", [True, False])
def test_predictions_and_their_mask_give_the_loss(norm_pixels: bool) -> None:
    method = MAE(small("ViT"), **LIGHT, norm_pixels=norm_pixels).double()
    images = torch.randn(2, 3, 32, 32).double()
    loss, predictions, mask = method.predict(images)
    assert torch.equal(loss, method(Batch(images=images, patch_mask=mask)).loss)
    targets = patchify(images, (8, 8))
    if norm_pixels:
        variance, mean = torch.var_mean(targets, dim=-1, keepdim=True)
        targets = (targets - mean) / (variance + 1e-6).sqrt()
    loss = ((predictions - targets) ** 2).mean(-1)
    loss = (loss * mask).sum() / mask.sum()
    torch.testing.assert_close(method(Batch(images=images, patch_mask=mask)).loss, loss)
    assert (predictions[~mask] == 0).all() and predictions.requires_grad
    assert torch.equal(method.predict(images, mask).predictions, predictions)


def test_decoder_positions_are_the_authors() -> None:
    """Of 8 channels, two frequencies an axis: 1 and 1/100; the column's before the row's."""
    position = MAE(small("ViT"), decoder_dim=8, decoder_heads=2).decoder.position
    for place in (0, 6, 13):
        row, column = divmod(place, 4)
        angles = torch.tensor([column, column / 100, row, row / 100])
        sin, cos = angles.sin().view(2, 2), angles.cos().view(2, 2)
        wanted = torch.cat([sin[0], cos[0], sin[1], cos[1]])
        assert torch.allclose(position[0, place], wanted, atol=1e-6)


def test_settings_are_checked() -> None:
    for settings, problem in (
        ({"mask": "blocks"}, "mask='blocks' is not one of"),
        ({"mask": "tube"}, "needs a grid with frames"),
        ({"mask_ratio": 1.5}, "mask_ratio=1.5 is not a number of at least 0 and at most 1"),
        ({"mask_ratio": 0.99}, "masks all"),
        ({"decoder_dim": 30}, "dim=30"),
        ({"decoder_heads": 5}, "heads=5"),
        ({"decoder_depth": 0}, "decoder_depth=0 is not a whole number of at least 1"),
    ):
        with pytest.raises(ConfigError, match=problem):
            MAE(small("ViT"), **settings)
    with pytest.raises(ConfigError, match="norm_pixels=False"):
        MAE(small("ViT", image_size=(16,), patch_size=1, channels=1))
    with pytest.raises(TierError, match="MAE needs a SequenceBackbone"):
        MAE(small("Swin"))
    with pytest.raises(TierError, match="token_dropout"):
        MAE(small("NaViT", token_dropout=0.3), **LIGHT).train()(
            Batch(images=torch.rand(1, 3, 32, 32))
        )
    with pytest.raises(DataError, match=r"images of \(48, 48\) pixels"):
        MAE(small("ViT"), **LIGHT)(Batch(images=torch.rand(1, 3, 48, 48)))


def test_tubes_hide_the_same_in_every_frame() -> None:
    method = MAE(small("ViT", **VIDEO), **LIGHT, mask="tube", mask_ratio=0.5)
    mask = method.sample_mask(3).unflatten(1, (4, 4))
    assert (mask == mask[:, :1]).all() and method.visible_count == 8
    assert method(Batch(images=torch.rand(3, 3, 4, 16, 16))).loss.isfinite()
    assert method.reconstruct(torch.rand(3, 3, 4, 16, 16)).shape == (3, 3, 3, 4, 16, 16)


def masks(monkeypatch: pytest.MonkeyPatch, method: MAE, mask: Tensor) -> None:
    """Makes the method draw this mask."""
    monkeypatch.setattr(method, "sample_mask", lambda *_: mask)


def test_pictures_show_the_own_colours_of_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    method, images = MAE(small("ViT"), **LIGHT), torch.randn(2, 3, 32, 32)
    mask = method.sample_mask(2)
    masks(monkeypatch, method, mask)
    with torch.no_grad():
        method.decoder.head.weight.zero_()
        method.decoder.head.bias.zero_()
    given, masked, rebuilt = method.reconstruct(images)
    patches = patchify(images, (8, 8))
    means = patches.mean(-1, keepdim=True).expand_as(patches)
    wanted = torch.where(mask[..., None], means, patches)
    assert (given == images).all() and (masked == zero_cells(images, mask, (4, 4))).all()
    assert torch.allclose(rebuilt, unpatchify(wanted, (8, 8), (4, 4)), atol=1e-6)


def test_a_perfect_prediction_is_a_perfect_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    method, images = MAE(small("ViT"), **LIGHT), torch.randn(2, 3, 32, 32)
    mask = method.sample_mask(2)
    masks(monkeypatch, method, mask)
    hidden = take(patchify(images, (8, 8)), split_mask(mask)[1])
    perfect = (hidden - hidden.mean(-1, keepdim=True)) / (
        hidden.var(-1, keepdim=True) + 1e-6
    ) ** 0.5
    monkeypatch.setattr(method.decoder, "forward", lambda *_: perfect)
    assert torch.allclose(method.reconstruct(images)[2], images, atol=1e-5)
    assert method(Batch(images=images, patch_mask=mask)).loss < 1e-10


def test_it_learns_in_half_precision_and_repeats_itself() -> None:
    method = MAE(small("ViT"), **LIGHT).train()
    images = torch.rand(4, 3, 1, 1) + torch.linspace(-1, 1, 32).expand(32, 32)  # slopes
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    losses = []
    for step in range(40):
        torch.manual_seed(step % 4)
        with torch.autocast("cpu", torch.bfloat16):
            loss = method(Batch(images=images)).loss
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    torch.manual_seed(3)
    first = method(Batch(images=images)).loss
    torch.manual_seed(3)
    assert method(Batch(images=images)).loss == first
    assert method(Batch(images=images)).loss != first


def test_weights_go_out_and_in() -> None:
    method = MAE(small("ViT"), **LIGHT)
    assert "decoder.position" in method.state_dict()
    assert "decoder.position" not in dict(method.named_parameters())
    other = MAE(small("ViT"), **LIGHT)
    other.load_state_dict(method.state_dict())
    images, mask = torch.rand(1, 3, 32, 32), method.sample_mask(1)
    assert (
        other(Batch(images=images, patch_mask=mask)).loss
        == method(Batch(images=images, patch_mask=mask)).loss
    )


def test_the_decoder_starts_from_xavier_s_uniform_distribution() -> None:
    decoder = MAE(small("ViT"), decoder_dim=48, decoder_depth=2, decoder_heads=2).decoder
    for module in decoder.modules():
        if isinstance(module, torch.nn.Linear):
            bound = (6 / sum(module.weight.shape)) ** 0.5
            assert 0.95 * bound < module.weight.abs().max() <= bound
            assert not module.bias.any()
