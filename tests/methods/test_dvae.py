"""The discrete variational autoencoder: its loss, its codes, and that they do not collapse."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.methods.masked import build, cases, without_gradient
from tests.models.small import small
from vitrail.data.registry import open_dataset
from vitrail.errors import ConfigError, TierError
from vitrail.methods import dvae
from vitrail.methods.base import Batch
from vitrail.methods.dvae import DVAE
from vitrail.models.tiers import PyramidBackbone, SequenceBackbone
from vitrail.models.vit import ViT

CASES, IDS = cases((SequenceBackbone, PyramidBackbone))


@pytest.mark.parametrize(("model", "more"), CASES, ids=IDS)
def test_every_model_learns_codes_and_gives_them(model: str, more: dict[str, Any]) -> None:
    method = build(DVAE, model, more, vocabulary=12, code_dim=8)
    if method is None:
        return
    assert isinstance(method, DVAE)
    if "token_dropout" in more:
        with pytest.raises(TierError, match="token_dropout=0"):
            method.train()(Batch(images=torch.rand(2, 1, 32, 32)))
        return
    method.before_step(0.5)
    assert not without_gradient(method)
    backbone = method.eval().backbone
    images = torch.rand(2, backbone.channels, *backbone.image_size)
    codes = method.tokens(images)
    assert codes.shape == (2, math.prod(method.layout.grid))
    assert 0 <= codes.min() <= codes.max() < method.vocabulary
    rows = method.reconstruct(images)
    assert rows.shape == (3, *images.shape)
    assert torch.equal(rows[0], images)
    assert torch.equal(rows[2], method.decode(codes))


def vit(**more: Any) -> DVAE:
    return DVAE(ViT(8, 2, 0, 32, 2, 2, 64, channels=1, pool="mean"), **more)


def test_the_loss_is_error_and_divergence() -> None:
    method, images = vit(vocabulary=24, kl_weight=0.7).double().train(), torch.randn(5, 1, 8, 8)
    images = images.double()
    for progress, part in ((0.0, 0.0), (0.05, 0.5), (0.8, 1.0)):
        method.before_step(progress)
        torch.manual_seed(1)
        loss, metrics = method(Batch(images=images))
        torch.manual_seed(1)
        logits = method.logits(images)
        drawn = F.gumbel_softmax(logits, method.temperature)
        rebuilt = method._decode(drawn @ method.codebook.weight)
        error = (rebuilt - images).square().mean()
        likely = logits.softmax(-1)
        divergence = (likely * (likely * 24).log()).sum(-1).mean()
        assert (loss - error - part * 0.7 * divergence / 4).abs() < 1e-12  # a cell has 4 pixels
        assert (metrics["error"] - error).abs() < 1e-12
        assert (metrics["divergence"] - divergence).abs() < 1e-12
        assert divergence > 0.5


def test_the_temperature_falls() -> None:
    method, seen = vit(), []
    for progress in (0.0, 0.25, 0.5, 0.75, 1.0):
        method.before_step(progress)
        seen.append(method.temperature)
    assert seen[0] == 1.0
    assert seen[-1] == pytest.approx(1 / 16)
    assert seen == sorted(seen, reverse=True)


def test_evaluation_chooses_and_training_draws() -> None:
    method, images = vit(), torch.randn(3, 1, 8, 8)
    assert method.train()(Batch(images=images)).loss != method(Batch(images=images)).loss
    loss, metrics = method.eval()(Batch(images=images))
    assert loss == method(Batch(images=images)).loss
    assert metrics["error"] == F.mse_loss(method.reconstruct(images)[2], images)
    counts = method.tokens(images).flatten().bincount().double()
    entropy = torch.special.entr(counts / counts.sum()).sum()
    assert metrics["perplexity"] == pytest.approx(entropy.exp().item(), rel=1e-5)


def coarse(**more: Any) -> DVAE:
    return DVAE(ViT(8, 4, 0, 32, 2, 2, 64, channels=1, pool="mean"), **more)


def learn(method: DVAE, images: Tensor, steps: int = 100) -> float:
    """A short training → the perplexity of the codes of all images."""
    optimizer = torch.optim.AdamW(method.train().parameters(), 3e-3)
    for step in range(steps):
        method.before_step(step / steps)
        optimizer.zero_grad()
        method(Batch(images=images[torch.randint(len(images), (64,))])).loss.backward()
        nn.utils.clip_grad_norm_(method.parameters(), 1.0)
        optimizer.step()
    return method.eval()(Batch(images=images)).metrics["perplexity"].item()


def test_codes_do_not_collapse_and_rebuild_images(monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_dataset("digits", "train")
    images = torch.stack([source.read(i) for i in range(len(source))]).float()
    images = (images - images.mean()) / images.std()
    method = coarse(vocabulary=128)
    used = learn(method, images)
    error = method(Batch(images=images)).metrics["error"]
    average = (images - images.mean(0)).square().mean()  # what the mean image misses
    assert used > 20
    assert error < average / 2
    # Without what prevents it they do collapse, so the bound above says something.
    monkeypatch.setattr(dvae, "LOGITS_STD", 0.2)
    torch.manual_seed(0)
    assert learn(coarse(vocabulary=128, kl_weight=0.0), images) < used / 2


def test_half_precision_counts_in_full() -> None:
    method, images = vit().eval(), torch.randn(3, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = method(Batch(images=images))
    assert loss.dtype == torch.float32
    assert (loss - method(Batch(images=images)).loss).abs() < 0.1
    with torch.autocast("cpu", torch.bfloat16):
        method.train()(Batch(images=images)).loss.backward()


def test_bad_settings_say_so() -> None:
    for more, told in (
        ({"vocabulary": 1}, "vocabulary=1 is not a whole number of at least 2"),
        ({"kl_weight": -1.0}, "kl_weight=-1.0 is not a number of at least 0"),
        ({"kl_warmup": 2.0}, "kl_warmup=2.0 is not a number of at least 0 and at most 1"),
    ):
        with pytest.raises(ConfigError, match=told):
            DVAE(small("ViT"), **more)
