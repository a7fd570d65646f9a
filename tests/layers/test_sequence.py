"""The augmentation of sequences, on every model of the tier."""

import random
from typing import Any

import pytest
import torch

from tests.models.small import images_for, small
from vitrail.errors import ConfigError, TierError
from vitrail.layers.sequence import SequenceAugment
from vitrail.models.navit import NaViT
from vitrail.models.registry import model_classes
from vitrail.models.surgery import resized
from vitrail.models.tiers import SequenceBackbone
from vitrail.train.config import make_config
from vitrail.train.data_factory import open_datasets
from vitrail.train.model_factory import build_model

NAMES = [name for name, kind in model_classes().items() if issubclass(kind, SequenceBackbone)]
# Attention from every token to every other, positions added before: no order changes anything.
UNMOVED = {"CaiT", "CLIPViT", "DeepViT", "DeiT", "NaViT", "ParallelViT", "SigLIPViT", "SimpleViT"}
UNMOVED |= {"T2TViT", "SmallViT", "CCT", "ViT"}


def test_the_order_is_the_official_code_s() -> None:
    augment, order = SequenceAugment(0.5, 1.0, class_token=True), torch.arange(8)
    for seed in range(6):
        random.seed(seed)
        torch.manual_seed(seed)
        new_order = augment(order, prefix=1)
        random.seed(seed)
        torch.manual_seed(seed)
        slot = random.randint(0, 7)
        expected = torch.cat([order[1 : slot + 1], order[:1], order[slot + 1 :]])
        expected = expected[torch.randperm(8)]
        expected = expected.flip(0) if random.random() < 0.5 else expected
        assert torch.equal(new_order, expected)
    assert augment.eval()(order, prefix=1) is order


def test_prefix_tokens_stand_together_at_any_slot() -> None:
    augment, slots = SequenceAugment(class_token=True), set()
    augment.generator = torch.Generator().manual_seed(3)
    for _ in range(100):
        new_order = augment(torch.arange(6), prefix=2).tolist()
        slots.add(slot := new_order.index(0))
        assert new_order[:slot] + new_order[slot + 2 :] == [2, 3, 4, 5] and new_order[slot + 1] == 1
    assert slots == set(range(5))


@pytest.mark.parametrize("name", NAMES)
def test_every_sequence_model_is_augmented_in_training_only(name: str) -> None:
    model = small(name).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    embedded = model.embed(images_for(model).double())
    plain = model.encode(embedded)
    model.set_sequence_augment(flip=1.0, shuffle=1.0, class_token=True)
    assert torch.equal(model.encode(embedded).patches, plain.patches)
    model.train()
    torch.manual_seed(1)
    augmented = model.encode(embedded)
    assert augmented.patches.shape == plain.patches.shape
    unmoved = torch.allclose(augmented.patches, plain.patches, atol=1e-8)
    assert unmoved == (name in UNMOVED), "no order may change attention, and each one a scan"
    model.set_sequence_augment()
    assert model.sequence_augment is None


@pytest.mark.parametrize("more", [{"position": "rope"}, {"residual_rope": True}], ids=str)
def test_rotations_belong_to_slots_of_a_vit(more: dict[str, Any]) -> None:
    model = small("ViT", **more)
    images = images_for(model)
    plain = model(images)
    model.set_sequence_augment(shuffle=1.0)
    assert not torch.allclose(model.train()(images), plain, atol=1e-4)


def test_tokens_move_and_come_back() -> None:
    model = small("ViT")
    embedded = model.embed(images_for(model))
    tokens = model.to_sequence(embedded).tokens
    model.set_sequence_augment(flip=1.0)
    sequence = model.train().to_sequence(embedded)
    assert torch.equal(sequence.tokens, tokens.flip(1))
    features = sequence.to_features(sequence.tokens)
    assert torch.equal(features.patches, embedded.patches)
    assert torch.equal(features.prefix, embedded.prefix)
    evaluated = small("ViT").eval()
    evaluated.set_sequence_augment(flip=1.0)
    assert not evaluated.sequence_augment.training
    assert resized(model, 64).sequence_augment.flip == 1.0


def test_what_cannot_be_augmented_says_so() -> None:
    with pytest.raises(ConfigError, match="flip=1.5 is no probability"):
        small("ViT").set_sequence_augment(flip=1.5)
    with pytest.raises(ConfigError, match='pool="last" reads the last patch, which flip'):
        small("VisionMamba", pool="last").set_sequence_augment(flip=0.5)
    packed = small("NaViT")
    assert isinstance(packed, NaViT)
    packed.set_sequence_augment(shuffle=1.0)
    with pytest.raises(TierError, match="would mix the images of a pack"):
        packed.train()([torch.randn(3, 16, 16), torch.randn(3, 16, 24)])


def test_settings_of_a_run_augment_its_model() -> None:
    sizes = {"patch_size": 4, "dim": 8, "depth": 2, "num_classes": 10}
    model = {"name": "VisionMamba", "options": sizes}
    values = {"data": {"source": "digits"}, "model": {**model, "sequence": {"flip": 0.5}}}
    config = make_config(values)
    dataset = open_datasets(config).train
    augment = build_model(config, dataset).sequence_augment
    assert isinstance(augment, SequenceAugment) and augment.flip == 0.5 and augment.shuffle == 0
    plain = make_config({"data": {"source": "digits"}, "model": model})
    assert build_model(plain, dataset).sequence_augment is None
    swin = {"data": {"source": "digits"}, "model": {"name": "Swin", "options": {}}}
    swin["model"]["options"] = {
        "patch_size": 2, "dim": (8, 16), "depth": (1, 1), "heads": (1, 1), "window": 2,
    }  # fmt: skip
    with pytest.raises(
        ConfigError, match=r"model\.sequence changes the order .* Swin has no one sequence"
    ):
        build_model(make_config(swin, ["model.sequence.class_token=true"]), dataset)
