"""The contract of methods: batches, settings, tiers."""

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from tests.models.small import small
from vitrail.errors import ConfigError, DataError, TierError
from vitrail.methods.base import Batch, Method
from vitrail.methods.linear_probe import LinearProbe
from vitrail.methods.registry import create_method, get_method, list_methods, register_method
from vitrail.methods.supervised import Supervised
from vitrail.models.base import Backbone
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import Fraction


class Dropping(Method):
    """Needs patches that may be dropped."""

    tier = (SequenceBackbone,)


class Choosy(Method):
    """A method with settings of several kinds."""

    def __init__(
        self, backbone: Backbone, ratio: Fraction = 0.5, mask: Literal["block", "random"] = "block"
    ) -> None:
        super().__init__(backbone)


class Choosier(Choosy):
    """A subclass with a setting of its own."""

    def __init__(self, backbone: Backbone, depth: int, **rest: object) -> None:
        super().__init__(backbone, **rest)


def test_a_method_says_which_models_it_cannot_train() -> None:
    class Plain(Backbone):
        pass

    with pytest.raises(TierError, match="Dropping needs a SequenceBackbone model, and Plain is no"):
        Dropping(Plain(8, 3, 2))
    assert Dropping(small("SimpleViT")).backbone.num_classes == 5
    with pytest.raises(ConfigError, match="one linear head"):
        LinearProbe(small("DeiT"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 1.5}, r"Choosy: ratio=1.5 is not a number of at least 0 and at most 1"),
        ({"ratio": "0.5"}, "ratio='0.5' is not"),
        ({"mask": "blok"}, "mask='blok' is not one of 'block', 'random'. Did you mean 'block'"),
        ({"rato": 0.5}, "Choosy has no keyword 'rato'. Did you mean 'ratio'"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Choosy(small("ViT"), **settings)


def test_settings_are_recorded() -> None:
    import numpy as np

    method = Choosy(small("ViT"), ratio=np.float64(0.25))
    assert method.settings == {"ratio": 0.25, "mask": "block"}
    assert type(method.settings["ratio"]) is float
    assert Choosier(small("ViT"), 3, mask="random").settings["depth"] == 3
    assert Dropping(small("ViT")).settings == {}


def test_what_a_batch_holds() -> None:
    images, crops = torch.zeros(3, 1, 4, 4), (torch.zeros(3, 1, 2, 2), torch.zeros(3, 1, 1, 1))
    batch = Batch(images=images, crops=crops, actions=torch.zeros(3, 2, 7))
    assert batch.names() == ("images", "crops", "actions") and len(batch) == 3
    assert len(Batch(crops=crops)) == 3 and len(Batch()) == 0
    with pytest.raises(DataError, match="holds images, crops, actions, no labels: add labels"):
        batch["labels"]
    moved = batch.to("meta")
    assert moved["images"].is_meta and all(crop.is_meta for crop in moved.crops)
    assert moved.labels is None


def test_the_cross_entropy_is_its_formula() -> None:
    model = small("ViT").double()
    images, labels = torch.randn(4, 3, 32, 32, dtype=torch.double), torch.tensor([0, 1, 2, 3])
    hard = Supervised(model, label_smoothing=0.1)(Batch(images=images, labels=labels))
    logs = model(images).log_softmax(1)
    smooth = torch.nn.functional.one_hot(labels, 5) * 0.9 + 0.1 / 5
    torch.testing.assert_close(hard.loss, -(smooth * logs).sum(1).mean())
    soft = Supervised(model, 0.0)(Batch(images=images, labels=smooth.double()))
    torch.testing.assert_close(soft.loss, hard.loss)
    assert set(hard.metrics) == {"top1"} and soft.metrics == {}
    right = (model(images).argmax(1) == labels).double().mean()
    assert hard.metrics["top1"].item() == pytest.approx(right.item())


def test_a_linear_probe_is_standardized_while_it_learns_only() -> None:
    model = small("ViT").double()
    features = 3 + 5 * torch.randn(40, model.pooled_dim, dtype=torch.double)
    probe = LinearProbe(model)
    probe.fit_statistics(Batch(features=features, labels=torch.arange(40) % 5))
    std, mean = torch.std_mean(features, dim=0)
    expected = model.head((features - mean) / std)
    predict = probe.predictor(model)
    torch.testing.assert_close(predict(Batch(features=features)), expected)
    probe.finish(model)
    torch.testing.assert_close(model.head(features), expected)
    learning = [name for name, p in probe.named_parameters() if p.requires_grad]
    assert learning == ["backbone.head.weight", "backbone.head.bias"]


def test_a_feature_that_is_constant_in_training_tells_nothing() -> None:
    """Otherwise its weight would be divided by almost 0, and any noise on it would decide."""
    model = small("ViT").double()
    features = torch.randn(200, model.pooled_dim, dtype=torch.double)
    features[:, 3] = 0.1  # whose standard deviation is a rounding error
    probe = LinearProbe(model)
    probe.fit_statistics(Batch(features=features, labels=torch.arange(200) % 5))
    before = model.head.weight.abs().max().item()
    probe.finish(model)
    assert model.head.weight[:, 3].abs().max() <= before
    assert (model.head.weight[:, 4] != 0).all()


def test_every_method_that_is_listed_exists_and_others_can_be_added() -> None:
    for name in list_methods():
        assert issubclass(get_method(name), Method)

    class Own(Supervised):
        def predict(self, images: Tensor) -> Tensor:
            return self.backbone(images)

    register_method("own")(Own)
    assert "own" in list_methods() and type(create_method("own", small("ViT"))) is Own
    with pytest.raises(ConfigError, match="there is a method 'own' already"):
        register_method("own")(Dropping)
    with pytest.raises(ConfigError, match="there is a method 'mae' already"):
        register_method("mae")(Own)


def test_images_and_crops_need_no_batch() -> None:
    torch.manual_seed(0)
    mae: Any = create_method("mae", small("ViT"), decoder_dim=8, decoder_heads=2, decoder_depth=1)
    dino: Any = create_method("dino", small("ViT"), out_dim=8, head_dims=(8, 8)).eval()
    images = torch.randn(2, 3, 32, 32)
    mae(images).backward()
    assert all(p.grad is not None for p in mae.decoder.parameters() if p.requires_grad)
    loss = dino([images, images]).loss
    torch.testing.assert_close(loss, dino(Batch(crops=(images, images))).loss)
    supervised: Any = create_method("supervised", small("ViT"))
    with pytest.raises(DataError, match="the batch holds images, no labels: add labels to it"):
        supervised(images)
    with pytest.raises(DataError, match="Supervised reads .*labels.* and got dict: give vitrail"):
        supervised({"images": images})
