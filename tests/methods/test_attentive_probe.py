"""The attentive probe learns, its backbone does not, and what comes out is both side by side."""

from pathlib import Path

import pytest
import torch

import vitrail
from tests.models.small import small
from vitrail.errors import ConfigError
from vitrail.hub.method_folder import load_method, save_method
from vitrail.methods.attentive_probe import AttentiveProbe
from vitrail.methods.base import Batch
from vitrail.models.base import Backbone


def images_for(backbone: Backbone, batch: int = 6) -> torch.Tensor:
    return torch.randn(batch, backbone.channels, *backbone.image_size)


@pytest.mark.parametrize("name", ["ViT", "Swin", "PVT", "LeViT", "CrossViT", "ViViT"])
def test_only_the_probe_learns(name: str) -> None:
    backbone = small(name)
    method = AttentiveProbe(backbone, heads=2).train()
    before = {k: v.clone() for k, v in method.state_dict().items()}
    learning = [p for p in method.parameters() if p.requires_grad]
    assert len(learning) == len(list(method.probe.parameters()))
    optimizer = torch.optim.AdamW(learning, lr=1e-2)
    images, targets = images_for(backbone), torch.arange(6) % 5
    losses = []
    for _ in range(10):
        loss, metrics = method(Batch(images=images, labels=targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert set(metrics) == {"top1"}
    for key, value in method.state_dict().items():  # the statistics of batch norms too
        assert torch.equal(value, before[key]) == key.startswith("backbone."), key


def test_the_backbone_stays_in_eval_mode() -> None:
    method = AttentiveProbe(small("ViT", dropout=0.5, drop_path=0.5)).train()
    assert method.training and method.probe.training and not method.backbone.training
    images, targets = images_for(method.backbone), torch.arange(6) % 5
    assert torch.equal(
        method(Batch(images=images, labels=targets)).loss,
        method(Batch(images=images, labels=targets)).loss,
    )


def test_it_is_its_formula() -> None:
    method = AttentiveProbe(small("ViT"), heads=1, mlp_ratio=0, label_smoothing=0.0).double()
    pool, images = method.probe, images_for(method.backbone).double()
    with torch.no_grad():
        x = pool.norm1(method.backbone.features(images).patches)
        q = pool.attention.q(pool.query(1)[0])
        k, v = pool.attention.kv(x).chunk(2, dim=-1)
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
        pooled = pool.query(1) + pool.attention.proj(weights @ v)
        logits = pool.head(pool.norm2(pooled))[:, 0]
        got = method.classifier(method.backbone)(images)
    torch.testing.assert_close(got, logits, atol=1e-12, rtol=0)


def test_the_classifier_reads_the_backbone_that_it_is_given() -> None:
    method, other = AttentiveProbe(small("ViT")).eval(), small("ViT")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    images = images_for(other)
    own, given = (method.classifier(backbone)(images) for backbone in (method.backbone, other))
    assert own.shape == given.shape == (6, 5)
    assert not torch.allclose(own, given)


def test_a_probe_of_a_model_without_names_of_classes_is_loaded(tmp_path: Path) -> None:
    method = AttentiveProbe(small("ViT"), heads=2).eval()
    vitrail.save(method.backbone, tmp_path / "model")
    save_method(method, "attentive_probe", tmp_path / "method")
    images = torch.randn(2, 3, 32, 32)
    loaded = load_method(tmp_path)
    outputs = [m.classifier(m.backbone)(images) for m in (method, loaded.eval())]
    assert torch.equal(*outputs)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="dim=32 does not divide into heads=5"):
        AttentiveProbe(small("ViT"), heads=5)
    with pytest.raises(ConfigError, match="mlp_ratio=-1 is not a number of at least 0"):
        AttentiveProbe(small("ViT"), mlp_ratio=-1)
    with pytest.raises(ConfigError, match="needs classes: give the model num_classes"):
        AttentiveProbe(small("ViT", num_classes=0))
