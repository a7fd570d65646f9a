"""Adapters learn in place of the weights, and are gone once they are merged."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vitrail
from tests.models.small import small
from tests.train.test_fit import cut_and_resume, digest
from tests.train.tiny import tiny
from vitrail.data.loader import Loader
from vitrail.errors import ConfigError
from vitrail.layers.batch_norms import BATCH_NORMS
from vitrail.methods.base import Batch
from vitrail.methods.registry import create_method
from vitrail.models.base import Backbone
from vitrail.models.registry import model_classes
from vitrail.train import lora
from vitrail.train.data_factory import open_datasets
from vitrail.train.factory import train_run
from vitrail.train.metrics import evaluate_classifier

pytest.importorskip("peft")


def images_for(backbone: Backbone) -> Tensor:
    like = next(backbone.parameters())
    return torch.randn(3, backbone.channels, *backbone.image_size).to(like)


def stir(backbone: Backbone) -> None:
    """What training would do to adapters, which begin as nothing."""
    for name, parameter in backbone.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)


@pytest.mark.parametrize("name", sorted(model_classes()))
def test_merged_is_what_was_adapted(name: str) -> None:
    backbone = small(name).double()
    images, plain = images_for(backbone), set(backbone.state_dict())
    before, attributes = backbone(images), set(vars(backbone))
    assert lora.adapt(backbone, rank=2, alpha=3) is backbone
    torch.testing.assert_close(backbone(images), before)  # nothing yet
    stir(backbone)
    adapted = backbone(images)
    assert not torch.equal(adapted, before)
    adapted.square().sum().backward()
    for key, parameter in backbone.named_parameters():
        assert parameter.requires_grad == (".lora_" in key or key.startswith("head.")), key
        assert not parameter.requires_grad or parameter.grad is not None, key
    lora.merge(backbone)
    torch.testing.assert_close(backbone(images), adapted, atol=1e-12, rtol=1e-10)
    assert set(backbone.state_dict()) == plain and set(vars(backbone)) == attributes
    assert not any("peft" in type(module).__module__ for module in backbone.modules())


@pytest.mark.parametrize("name", ["CvT", "XCiT"])
def test_batch_norms_stay_still(name: str) -> None:
    """Only adapters and the head learn, so statistics of the weights they adapt must not move."""
    backbone = small(name)
    lora.adapt(backbone.train(), rank=2)
    assert not any(m.training for m in backbone.modules() if isinstance(m, BATCH_NORMS))
    method = create_method("supervised", backbone).train()
    before = {n: b.clone() for n, b in backbone.named_buffers() if "running" in n}
    assert before
    backbone.train()  # as in a loop of one's own
    method(Batch(images=images_for(backbone), labels=torch.arange(3)))
    after = dict(backbone.named_buffers())
    assert all(torch.equal(after[n], value) for n, value in before.items())
    plain = create_method("supervised", small(name)).train()
    before = {n: b.clone() for n, b in plain.backbone.named_buffers() if "running" in n}
    plain(Batch(images=images_for(plain.backbone), labels=torch.arange(3)))
    after = dict(plain.backbone.named_buffers())
    assert not any(torch.equal(after[n], value) for n, value in before.items())


def test_merged_in_float32() -> None:
    backbone = lora.adapt(small("ViT"), rank=4)
    stir(backbone)
    images = images_for(backbone)
    adapted = backbone(images)
    torch.testing.assert_close(lora.merge(backbone)(images), adapted, atol=1e-6, rtol=0)
    assert lora.merge(backbone) is backbone  # nothing left to do


def test_a_merged_weight_is_the_formula() -> None:
    backbone = small("ViT").double()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    lora.adapt(backbone, rank=2, alpha=6.0)
    stir(backbone)
    now = dict(backbone.state_dict())
    lora.merge(backbone)
    for key, value in backbone.state_dict().items():
        stem = key.removesuffix(".weight")
        if f"{stem}.lora_A.default.weight" in now:
            down, up = (now[f"{stem}.lora_{x}.default.weight"] for x in "AB")
            torch.testing.assert_close(value, before[key] + 3 * up @ down)
        else:
            assert torch.equal(value, before[key])


def test_few_weights_learn() -> None:
    backbone = lora.adapt(vitrail.create_model("vit_tiny_patch16_224", num_classes=10), rank=4)
    learning = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    # Four projections a block, rank · (in + out) each, and the head.
    of_block = 4 * (192 + 576) + 4 * (192 + 192) + 2 * 4 * (192 + 768)
    assert learning == 12 * of_block + 193 * 10
    assert learning < 0.03 * sum(p.numel() for p in backbone.parameters())


def test_a_run_trains_resumes_and_leaves_a_plain_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run(tiny("schedule.epochs=1"), tmp_path / "base")
    run = tiny(
        f"model.weights={tmp_path / 'base'}", "model.options={}", "model.lora=2",
        "data.augment={crop: none, flip: 0}", "optim.lr=0.01",
    )  # fmt: skip
    figures = train_run(run, tmp_path / "whole")  # the EMA, by optim.ema
    cut_and_resume(run, tmp_path / "cut")
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")

    base, new = (vitrail.load(tmp_path / name).state_dict() for name in ("base", "whole"))
    assert base.keys() == new.keys()
    changed = {key for key in base if not torch.equal(base[key], new[key])}
    adapted = ("mixer.qkv.weight", "mixer.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight")
    assert changed == {key for key in base if key.endswith(adapted) or key.startswith("head.")}
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it fails from here on
    model = vitrail.load(tmp_path / "whole")
    loader = Loader(open_datasets(run).test, 64, model.preprocess.crop)
    assert evaluate_classifier(model, loader, model.preprocess).top1 == pytest.approx(
        figures["top1"]
    )


def test_methods_that_train_every_weight_train_adapters() -> None:
    for name in ("supervised", "simmim"):
        method = create_method(name, lora.adapt(small("ViT"), rank=2))
        lora.check_learns(method.backbone, name)
        method(Batch(images=images_for(method.backbone), labels=torch.arange(3))).loss.backward()
        assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


def test_adapters_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"model.lora adapts weights that exist: set model.weig"):
        train_run(tiny("model.lora=2"), tmp_path / "none")
    train_run(tiny("schedule.epochs=1"), tmp_path / "base")
    weights = (f"model.weights={tmp_path / 'base'}", "model.options={}", "model.lora=2")
    for method in ("linear_probe", "attentive_probe"):
        with pytest.raises(ConfigError, match=f"method '{method}' decides itself which weights"):
            train_run(tiny(*weights, f"method.name={method}"), tmp_path / "no")
    with pytest.raises(
        ConfigError, match=r"has adapters: call vitrail.train.merge\(model\) before"
    ):
        lora.adapt(lora.adapt(small("ViT"), rank=2), rank=2)
    with pytest.raises(ConfigError, match="model.lora=-1"):
        tiny("model.lora=-1")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"lora needs the package peft: pip install peft"):
        lora.adapt(small("ViT"), rank=2)
