"""From a pretrained model without a head to one that knows classes, by every way there is."""

from pathlib import Path

import pytest
import torch

import vitrail
from tests.models.small import small
from tests.train.tiny import tiny
from vitrail.errors import ConfigError
from vitrail.hub.load import with_keywords
from vitrail.hub.model_folder import save
from vitrail.models.base import Backbone
from vitrail.preprocess import Preprocess
from vitrail.train import factory, trainer

QUICK = ("data.views={crop: none, flip: 0}", "schedule.epochs=1")


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A headless model, with the labels of the images that it saw."""
    model = small("ViT", image_size=8, patch_size=2, channels=1, num_classes=0, drop_path=0.0)
    model.preprocess = Preprocess((8, 8), None, "bilinear", (0.5,), (0.5,))
    model.labels = [str(i) for i in range(10)]
    return save(model, tmp_path / "pretrained")


def images_for(model: Backbone) -> torch.Tensor:
    return torch.randn(2, model.channels, *model.image_size)


def test_full_with_layer_decay(pretrained: Path, tmp_path: Path) -> None:
    run = tiny(
        f"model.weights={pretrained}", "model.options={drop_path: 0.2}", "optim.layer_decay=0.5",
        "optim.ema=0", *QUICK,
    )  # fmt: skip
    trainer.train(run, tmp_path / "run")
    before, after = vitrail.load(pretrained), vitrail.load(tmp_path / "run")
    assert after.num_classes == 10 and after.config["drop_path"] == 0.2
    moved = [
        (after.state_dict()[key] - value).abs().max().item()
        for key, value in before.state_dict().items()
        if key.endswith("fc1.weight")
    ]
    assert moved == sorted(moved) and moved[-1] > 1.5 * moved[0] > 0


@pytest.mark.parametrize("method", ["linear_probe", "attentive_probe"])
def test_probes_leave_the_weights_alone(method: str, pretrained: Path, tmp_path: Path) -> None:
    run = tiny(f"model.weights={pretrained}", "model.options={}", f"method.name={method}",
               *(["method.heads=2"] if method == "attentive_probe" else []), *QUICK)  # fmt: skip
    trainer.train(run, tmp_path / "run")
    before, after = vitrail.load(pretrained), vitrail.load(tmp_path / "run")
    assert after.labels == [str(i) for i in range(10)]
    assert after.num_classes == (10 if method == "linear_probe" else 0)
    for key, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[key])


def test_dropout_and_drop_path_may_change() -> None:
    model = small("ViT", num_classes=5)
    other = with_keywords(model, {"dropout": 0.1, "emb_dropout": 0.2, "drop_path": 0.3})
    images = images_for(model)
    assert torch.equal(other(images), model(images))
    rates = [block.drop_path.rate for block in other.blocks]
    assert rates == pytest.approx([0, 0.15, 0.3])
    assert not torch.equal(other.train()(images), other(images))
    assert other.config == {**model.config, "dropout": 0.1, "emb_dropout": 0.2, "drop_path": 0.3}


def test_they_change_on_a_model_of_other_size_and_depth(pretrained: Path) -> None:
    options = "model.options={image_size: 12, depth: 2, drop_path: 0.3}"
    run = tiny(f"model.weights={pretrained}", options)
    source = factory.open_datasets(run).train
    model = factory.build_model(run, source)
    assert model.image_size == (12, 12) and model.depth == 2 and model.num_classes == 10
    assert model.blocks[-1].drop_path.rate == pytest.approx(0.3)
    assert model.preprocess is not None and model.preprocess.size == (12, 12)


def test_pooling_may_change() -> None:
    """MAE's case: pretrained with a class token, fine-tuned on the mean of the patches."""
    model = small("ViT", num_classes=0)
    mean = with_keywords(model, {"pool": "mean"})
    assert mean.class_token is None
    lone = model.embed(images_for(model))._replace(prefix=torch.zeros(2, 0, model.dim))
    expected = model.encode(lone).patches.mean(1)
    torch.testing.assert_close(mean.pool(mean.encode(lone)), expected)
    both = with_keywords(small("ViT"), {"pool": "cls+mean"})
    assert both.head.weight.shape == (5, 64)  # fresh
    beit = small("BEiT", pool="cls")
    torch.nn.init.normal_(beit.norm.weight)
    other = with_keywords(beit, {"pool": "mean"})
    assert torch.equal(other.pool_norm.weight, torch.ones(32))  # fresh, as its authors' is
    for key, value in other.blocks.state_dict().items():
        assert torch.equal(value, beit.blocks.state_dict()[key])


@pytest.mark.parametrize(
    ("name", "has", "keywords", "error"),
    [
        ("ViT", {"pool": "mean"}, {"pool": "cls"}, r"pool='cls' needs class_token, which the wei"),
        ("ViT", {}, {"heads": 4}, r"model.options.heads cannot change weights .*drop_path, pool"),
        ("ViT", {}, {"dropuot": 0.1}, r"dropuot cannot change .*Did you mean 'dropout'"),
        ("ViT", {}, {"token_dropout": 0.1}, r"ViT has no keyword 'token_dropout'"),
        ("ViT", {}, {"pool": "max"}, r"pool='max' is not one of"),
    ],
)
def test_what_may_not_change(
    name: str, has: dict[str, object], keywords: dict[str, object], error: str
) -> None:
    with pytest.raises(ConfigError, match=error):
        with_keywords(small(name, **has), keywords)
