"""SimMIM: what is hidden, what the loss asks for, what the pictures show."""

from typing import Any

import pytest
import torch

from tests.methods.masked import assert_no_leak, build, cases, without_gradient
from tests.models.small import small
from vitrail.errors import ConfigError, TierError
from vitrail.methods.base import Batch
from vitrail.methods.masking import zero_cells
from vitrail.methods.simmim import SimMIM
from vitrail.models.tiers import PyramidBackbone, SequenceBackbone

MODELS, IDS = cases((SequenceBackbone, PyramidBackbone))


@pytest.mark.parametrize(("model", "more"), MODELS, ids=IDS)
def test_hidden_pixels_do_not_leak(model: str, more: dict[str, Any]) -> None:
    if method := build(SimMIM, model, more, mask_ratio=0.5):
        assert_no_leak(method, method.sample_mask(2))


@pytest.mark.parametrize(("model", "more"), MODELS, ids=IDS)
def test_every_parameter_learns(model: str, more: dict[str, Any]) -> None:
    more = {**more, "token_dropout": 0, "token_dropout_largest": None} if model == "NaViT" else more
    if method := build(SimMIM, model, more, mask_ratio=0.5):
        assert without_gradient(method) == []


def test_hidden_tokens_are_the_mask_token_and_their_position() -> None:
    model = small("ViT")
    method, embedded = SimMIM(model), []
    model.blocks[0].register_forward_pre_hook(lambda _, args: embedded.append(args[0][:, 1:]))
    mask = method.sample_mask(2)
    method(Batch(images=torch.rand(2, 3, 32, 32), patch_mask=mask))
    wanted = method.mask_token(1) + model.patch_embed.bias + model.position((4, 4))[:, 1:]
    difference = (embedded[0] - wanted).abs().amax(-1)
    assert (difference[mask] < 1e-6).all() and (difference[~mask] > 1e-3).all()


@pytest.mark.parametrize("model", ["ViT", "Swin"])
def test_the_loss_is_l1_on_hidden_pixels(model: str) -> None:
    method, images = SimMIM(small(model)).double(), torch.rand(2, 3, 32, 32).double()
    mask, cell, grid = method.sample_mask(2), method.layout.cell, method.layout.grid
    _, _, predicted = method._predict(Batch(images=images, patch_mask=mask))
    total, count = 0.0, 0
    for b in range(2):
        for number, place in enumerate(mask[b].nonzero()[:, 0].tolist()):
            y, x = place // grid[1] * cell[0], place % grid[1] * cell[1]
            pixels = images[b, :, y : y + cell[0], x : x + cell[1]].flatten()
            total, count = total + (predicted[b, number] - pixels).abs().sum(), count + len(pixels)
    assert count == mask.sum() * 3 * cell[0] * cell[1]
    assert abs(method(Batch(images=images, patch_mask=mask)).loss - total / count) < 1e-12


def test_units_are_hidden_together() -> None:
    method = SimMIM(small("ViT"), mask_ratio=0.5, mask_unit=2)
    units = method.sample_mask(6).unflatten(1, (2, 2, 2, 2)).transpose(2, 3).flatten(3)
    assert (units.all(-1) | ~units.any(-1)).all() and units.float().mean() == 0.5


def test_settings_are_checked() -> None:
    for settings, problem in (
        ({"mask_ratio": -0.1}, "mask_ratio=-0.1 is not a number"),
        ({"mask_ratio": 0.0}, "masks none"),
        ({"mask_unit": 3}, "mask_unit=3 does not divide"),
        ({"mask_unit": 0}, "mask_unit=0 is not a whole number of at least 1"),
        ({"mask_unit": 4}, "masks all"),
    ):
        with pytest.raises(ConfigError, match=problem):
            SimMIM(small("ViT"), **settings)
    with pytest.raises(TierError, match="needs a SequenceBackbone or PyramidBackbone"):
        SimMIM(small("XCiT"))


def test_pictures_are_rebuilt_where_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    method, images = SimMIM(small("Swin")), torch.randn(2, 3, 32, 32)
    mask = method.sample_mask(2)
    monkeypatch.setattr(method, "sample_mask", lambda *_: mask)
    with torch.no_grad():
        method.head.weight.zero_()
        method.head.bias.fill_(7)
    given, masked, rebuilt = method.reconstruct(images)
    assert (given == images).all()
    assert (masked == zero_cells(images, mask, method.layout.grid)).all()
    assert (rebuilt == torch.where(masked == 0, 7.0, images)).all()


@pytest.mark.parametrize("model", ["ViT", "Swin"])
def test_it_learns_in_half_precision(model: str) -> None:
    method = SimMIM(small(model), mask_ratio=0.5).train()
    images = torch.randn(4, 3, 1, 1) + torch.linspace(-1, 1, 32)[:, None].expand(32, 32)
    optimizer = torch.optim.AdamW(method.parameters(), 5e-3)
    losses = []
    for step in range(100):  # processors round bfloat16 differently, and some learn slower
        torch.manual_seed(step % 4)
        with torch.autocast("cpu", torch.bfloat16):
            loss = method(Batch(images=images)).loss
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
