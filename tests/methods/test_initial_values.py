"""What a new encoder starts from, by the method that trains it; weights that exist stay."""

from typing import Any

import pytest
import torch

from tests.methods.test_paper_facts import mismatch
from tests.models.small import small
from tests.train.tiny import tiny
from vitrail.data.registry import open_dataset
from vitrail.hub.model_folder import save
from vitrail.methods.base import Method
from vitrail.methods.beit import BEiTPretraining
from vitrail.methods.dino import DINO
from vitrail.methods.heads import Prototypes
from vitrail.methods.mae import MAE
from vitrail.methods.simmim import SimMIM
from vitrail.models.surgery import with_options
from vitrail.train.model_factory import build_method, build_model

WIDE: dict[str, Any] = {"dim": 96, "heads": 3, "mlp_dim": 192, "num_classes": 0}


def mae(name: str) -> Method:
    return MAE(small(name, **WIDE), decoder_dim=32, decoder_depth=1, decoder_heads=2)


def beit(name: str) -> Method:
    return BEiTPretraining(small(name, **WIDE, pool="cls"), lambda images: images, vocabulary=64)


def simmim(name: str) -> Method:
    return SimMIM(small(name, **WIDE))


@pytest.mark.parametrize(
    ("method", "weight", "start"),
    [
        (mae("ViT"), "blocks.1.mlp.fc1.weight", "xavier"),
        (mae("ViT"), "patch_embed.weight", "xavier"),
        (beit("BEiT"), "blocks.0.mlp.fc1.weight", "narrow 0.02"),
        (beit("BEiT"), "blocks.1.mlp.fc2.weight", "narrow 0.01"),  # 0.02 / √(2 · 2)
        (beit("BEiT"), "patch_embed.weight", "narrow 0.02"),
        (beit("BEiT"), "class_token.weight", "narrow 0.02"),
        (simmim("ViT"), "blocks.0.mixer.qkv.weight", "narrow 0.02"),
        (SimMIM(small("Swin")), "blocks.1.blocks.0.mlp.fc1.weight", "normal 0.02"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Method) else value,
)
def test_a_new_encoder_starts_as_its_authors(method: Method, weight: str, start: str) -> None:
    method.init_weights()
    assert mismatch(method.backbone.get_parameter(weight).detach(), start) == ""


def test_only_a_new_model_is_initialized(tmp_path: Any) -> None:
    dataset = open_dataset("digits", limit=20)
    tower = (
        "method={name: mae, mask_ratio: 0.5, decoder_dim: 16, decoder_depth: 1, decoder_heads: 2}"
    )
    config = tiny(tower)
    model = build_model(config, dataset)
    before = model.blocks[0].mlp.fc1.weight.detach().clone()
    build_method(config, model, dataset)
    assert not torch.equal(model.blocks[0].mlp.fc1.weight, before)
    save(model, tmp_path / "model")
    config = tiny(tower, f"model.weights={tmp_path / 'model'}", "model.options={}")
    loaded = build_model(config, dataset)
    build_method(config, loaded, dataset)
    assert torch.equal(loaded.blocks[0].mlp.fc1.weight, model.blocks[0].mlp.fc1.weight)


def test_a_new_head_may_start_small(tmp_path: Any) -> None:
    dataset = open_dataset("digits", limit=20)
    save(small("ViT", image_size=8, patch_size=2, channels=1, dim=96), tmp_path / "model")
    weights = f"model.weights={tmp_path / 'model'}"
    for settings, start in (((), "normal 0.02"), (("model.head_std=2e-5",), "normal 2e-5")):
        model = build_model(tiny(weights, "model.options={}", *settings), dataset)
        assert mismatch(model.head.weight.detach(), start) == ""


def test_a_shared_bias_becomes_a_copy_per_block() -> None:
    """As in BEiT's fine-tuning: the logits are the same, and each block goes on by itself."""
    model = small("BEiT", shared_bias=True).double()
    torch.nn.init.normal_(model.bias.table)
    other = with_options(model, {"shared_bias": False})
    images = torch.randn(2, 3, 32, 32).double()
    torch.testing.assert_close(other(images), model(images))
    tables = [block.mixer.bias.table for block in other.blocks]
    assert other.bias is None and len({id(table) for table in tables}) == model.depth
    with torch.no_grad():
        tables[0].zero_()
    assert torch.equal(tables[1], model.bias.table)
    with pytest.raises(Exception, match="shared_bias=True makes one table of several"):
        with_options(other, {"shared_bias": True})


def test_the_lengths_of_prototypes_may_learn() -> None:
    free, x = Prototypes(4, 6, fixed_length=False), torch.randn(3, 4)
    fixed = Prototypes(4, 6)
    fixed.load_state_dict({"weight": free.weight})
    torch.testing.assert_close(free(x), fixed(x))
    free(x).sum().backward()
    assert free.gain.grad is not None and free.gain.grad.any()
    free.zero_grad()
    free.frozen = True
    free(x).sum().backward()
    assert not free.gain.grad.any() and not free.weight.grad.any()
    dino = DINO(small("ViT"), out_dim=8, head_dims=(8, 4), norm_last=False)
    with torch.no_grad():
        dino.head.last.gain.fill_(2.0)
    dino.before_step(0.0)
    dino.after_step()
    torch.testing.assert_close(dino.teacher.head.last.gain, torch.full((8, 1), 1.004))
