"""Names of other libraries lead to the keywords here, wherever these exist."""

import inspect
from typing import Any

import pytest

import vitrail
from tests.models.small import small
from vitrail.errors import ConfigError
from vitrail.methods.registry import get_method, list_methods
from vitrail.models.registry import model_classes
from vitrail.other_names import NAMES, NOTES, name_here


def test_a_hint_names_a_keyword_that_the_class_has() -> None:
    classes = [*model_classes().values(), *(get_method(name) for name in list_methods())]
    for owner in classes:
        keywords = list(inspect.signature(owner).parameters)
        for name in NAMES:
            hint = name_here(name, keywords)
            if hint.startswith(" Here"):
                assert any(f"'{k}'" in hint or f"is {k}" in hint for k in keywords), (owner, name)


def test_every_note_begins_with_its_keyword() -> None:
    for name, note in NOTES.items():
        assert note.startswith(NAMES[name])


@pytest.mark.parametrize(
    ("model", "keywords", "hint"),
    [
        ("ViT", {"img_size": 32}, "Here it is called 'image_size'"),
        ("ViT", {"num_heads": 3}, "Here it is called 'heads'"),
        ("ViT", {"embed_dim": 48}, "Here it is called 'dim'"),
        ("ViT", {"mlp_ratio": 4}, "Here it is mlp_dim, which is the ratio times dim"),
        ("ViT", {"seq_len": 256}, r"Here it is image_size=\(length,\)"),
        ("ViT", {"frames": 8}, r"Here it is image_size=\(frames, height, width\)"),
        ("ViViT", {"frame_patch_size": 2}, r"Here it is patch_size=\(frames, height, width\)"),
        ("ViT", {"drop_path_rate": 0.1}, "Here it is called 'drop_path'"),
        ("CaiT", {"cls_depth": 2}, "Here it is called 'class_depth'"),
        ("VisionMamba", {"ssm_order": 16}, "Here it is called 'd_state'"),
        ("EfficientViT", {"transformer": None}, "Here it is called 'mixer'"),
        ("Swin", {"depths": (2, 2)}, "Here it is called 'depth'"),
        ("Swin", {"features_only": True}, "model.intermediates"),
        ("ViT", {"output_attentions": True}, "vitrail.record"),
        ("PVT", {"mlp_dim": 48}, "Here it is mlp_ratio, which is mlp_dim divided by the width"),
    ],
)
def test_models(model: str, keywords: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        small(model, **keywords)


def test_methods() -> None:
    model: Any = small("ViT")
    mae: Any = vitrail.methods.MAE
    with pytest.raises(ConfigError, match="Here it is backbone, the first argument"):
        mae(encoder=model, masking_ratio=0.75)
    with pytest.raises(ConfigError, match="Here it is called 'mask_ratio'"):
        mae(model, masking_ratio=0.75)
    with pytest.raises(ConfigError, match="Here it is called 'decoder_dim'"):
        mae(model, decoder_embed_dim=32)


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("learning_rate", "Here it is called 'lr'"),
        ("num_train_epochs", "Here it is called 'epochs'"),
        ("per_device_train_batch_size", "Here it is called 'batch_size'"),
        ("output_dir", "Here it is called 'out'"),
        ("max_grad_norm", "Here it is called 'clip'"),
        ("warmup_ratio", "Here it is called 'warmup'"),
    ],
)
def test_settings_of_a_run(keyword: str, hint: str) -> None:
    fit: Any = vitrail.fit
    with pytest.raises(ConfigError, match=hint):
        fit("ViT", data="digits", **{keyword: 3})


def test_settings_with_their_section() -> None:
    assert name_here("optim.learning_rate", ["optim.lr", "lr"]) == " Here it is called 'optim.lr'."
    assert name_here("train.num_workers", ["data.workers"]) == " Here it is called 'data.workers'."
    assert name_here("num_workers", ["data.workers"]) == ""


def test_values() -> None:
    with pytest.raises(ConfigError, match="pool='avg' is not one of .* Here it is called 'mean'"):
        small("ViT", pool="avg")


def test_what_is_missing_is_named_with_all_that_is_needed() -> None:
    vit: Any = vitrail.ViT
    with pytest.raises(ConfigError, match=r"It needs image_size, patch_size, num_classes.*help"):
        vit(224)
