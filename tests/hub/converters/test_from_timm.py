"""The same weights in timm and here give the same numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import timm.data
import torch
from PIL import Image
from timm.models import save_for_hf

import vitrail
from parity.oracle import close, images, randomise
from parity.pairs import from_timm, save_timm
from parity.pairs.vit import TIMM
from vitrail.errors import LoadError
from vitrail.preprocess import Preprocess

CASES: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {},
    "vit_base_patch32_224": {"qk_norm": True, "init_values": 0.1},
    "vit_base_patch16_224": {"class_token": False, "global_pool": "avg", "fc_norm": False},
    "vit_small_patch14_reg4_dinov2": {"num_classes": 5},
    "deit_tiny_distilled_patch16_224": {},
    "deit3_small_patch16_224": {},
}


@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_logits_and_features(name: str, tmp_path: Path) -> None:
    arguments = {"num_classes": 7, **TIMM, **CASES[name]}
    original = randomise(timm.create_model(name, dynamic_img_size=True, **arguments))
    arguments.pop("fc_norm", None)  # shows in the weights
    save_timm(original, tmp_path, name, arguments)
    model = vitrail.load(tmp_path)
    pixels = images(32, 32)
    close(model(pixels), original(pixels))
    close(model(images(40, 24)), original(images(40, 24)))
    features = model.features(pixels)
    joined = torch.cat([features.prefix, features.patches], dim=1)
    close(joined, original.forward_features(pixels))
    original, model = original.double(), model.double()
    close(model(pixels.double()), original(pixels.double()), 1e-10)


@torch.inference_mode()
def test_full_size_and_another_resolution_as_timm_writes_it(tmp_path: Path) -> None:
    original = randomise(timm.create_model("vit_tiny_patch16_224"))
    timm.models.save_for_hf(original, str(tmp_path), safe_serialization=True)
    close(vitrail.load(tmp_path)(images(224, 224)), original(images(224, 224)))
    larger = timm.create_model("vit_tiny_patch16_224", img_size=(288, 320)).eval()
    state = timm.models.vision_transformer.checkpoint_filter_fn(original.state_dict(), larger)
    larger.load_state_dict(state)
    ours = vitrail.load(tmp_path, image_size=(288, 320))
    close(ours(images(288, 320)), larger(images(288, 320)))
    assert ours.preprocess.size == (288, 320)


@torch.inference_mode()
def test_siglip_computes_the_gelu_that_its_weights_were_trained_with(tmp_path: Path) -> None:
    name, sizes = "vit_base_patch16_siglip_224", {"depth": 1, "embed_dim": 48, "num_heads": 3}
    original = randomise(timm.create_model(name, **sizes, act_layer="gelu_tanh"))
    save_timm(original, tmp_path, name, {**sizes, "global_pool": "map"})
    model = vitrail.load(tmp_path)
    close(model(images(224, 224)), original(images(224, 224)))


def test_another_pooling_is_refused(tmp_path: Path) -> None:
    original = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1))
    for pool, error in (("avg", None), ("max", "with global_pool='max' is not supported")):
        arguments = {"depths": [1, 1, 1, 1], "global_pool": pool}
        save_timm(original, tmp_path, "swin_tiny_patch4_window7_224", arguments)
        if error is None:
            assert vitrail.load(tmp_path).depth == 4
        else:
            with pytest.raises(LoadError, match=error):
                vitrail.load(tmp_path)


def test_all_tokens_in_place_of_a_pooled_one_are_refused(tmp_path: Path) -> None:
    arguments = {"depth": 1, "global_pool": ""}
    name = "vit_tiny_patch16_224"
    original = timm.create_model(name, **arguments)
    save_for_hf(original, tmp_path, model_args=arguments, safe_serialization=True)
    with pytest.raises(LoadError, match="pools by '' with a class token"):
        vitrail.load(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "vit_base_patch16_plus_240",
        "vit_relpos_small_patch16_224",
        "eva02_tiny_patch14_224",
    ],
)
def test_other_architectures_are_refused_by_name(name: str, tmp_path: Path) -> None:
    config = {"architecture": name, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(LoadError, match=f"'{name}' is not supported"):
        vitrail.load(tmp_path)


def test_a_weight_without_a_place_is_refused(tmp_path: Path) -> None:
    original = timm.create_model("vit_tiny_patch16_224", pre_norm=True, depth=1)
    save_timm(original, tmp_path, "vit_tiny_patch16_224", {})
    with pytest.raises(LoadError, match="the weight 'norm_pre.bias' belongs to no module"):
        vitrail.load(tmp_path)


def test_class_tokens_without_positions() -> None:
    """DeiT III and DINOv2 with registers give the class token no position."""
    for name, positioned in (
        ("deit3_small_patch16_224", False),
        ("vit_small_patch14_reg4_dinov2", False),
        ("vit_small_patch14_dinov2", True),
    ):
        ours, _ = from_timm(name, **{**TIMM, "num_classes": 3})
        assert ours.config["class_position"] is positioned
        assert ours.position.weight.shape[1] == 16 + positioned


def test_registers_with_positions_are_refused() -> None:
    with pytest.raises(LoadError, match="gives registers positions"):
        from_timm("vit_tiny_patch16_224", **TIMM, reg_tokens=2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_tiny_patch16_224", {"global_pool": "avg"}),  # MAE's fine-tuning
        ("vit_tiny_patch16_224", {"global_pool": "avg", "class_token": False}),
        ("vit_tiny_patch16_224", {"global_pool": "avg", "fc_norm": False}),
        ("vit_tiny_patch16_224", {"fc_norm": True, "num_classes": 0}),
        ("vit_base_patch16_gap_224", {"embed_dim": 64, "num_heads": 4}),
        ("vit_base_patch16_reg4_gap_256", {"embed_dim": 64, "num_heads": 4}),
        ("vit_base_patch16_clip_224", {"embed_dim": 64, "num_heads": 4}),
        ("vit_base_patch32_clip_224", {"embed_dim": 64, "num_heads": 4, "num_classes": 0}),
    ],
)
@torch.inference_mode()
def test_pooling_and_towers_as_timm_writes_them(
    name: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    arguments = {"depth": 2, **arguments}
    original = randomise(timm.create_model(name, **arguments))
    save_for_hf(original, tmp_path, safe_serialization=True, model_args=arguments)
    side = original.pretrained_cfg["input_size"][1]
    model = vitrail.load(tmp_path)
    close(model(images(side, side)), original(images(side, side)))
    close(
        vitrail.load(vitrail.save(model, tmp_path / "ours"))(images(side, side)),
        model(images(side, side)),
    )


FAMILIES: dict[str, dict[str, Any]] = {
    "swin_tiny_patch4_window7_224": {
        "depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 3, 4),
    },
    "cait_xxs24_224": {"depth": 2},
    "xcit_nano_12_p16_224": {"depth": 2},
    "vit_small_patch16_18x2_224": {"depth": 2},
    "beit_base_patch16_224": {"depth": 1, "embed_dim": 48, "num_heads": 3},
    "vit_base_patch16_clip_quickgelu_224": {"depth": 1, "embed_dim": 48, "num_heads": 3},
    "deit_tiny_distilled_patch16_224": {"depth": 1},
    **{
        name: {}
        for name in (
            "pit_ti_224", "levit_128s", "pvt_v2_b0", "mobilevit_xxs", "crossvit_tiny_240",
            "twins_pcpvt_small", "nest_tiny_jx",
        )
    },
    "maxvit_tiny_tf_224": {},
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_each_family_as_timm_writes_it(name: str, tmp_path: Path) -> None:
    original = randomise(timm.create_model(name, **FAMILIES[name]))
    save_for_hf(original, tmp_path, safe_serialization=True, model_args=FAMILIES[name])
    side = original.pretrained_cfg["input_size"][1]
    close(vitrail.load(tmp_path)(images(side, side)), original(images(side, side)), 1e-4)


@pytest.mark.parametrize("crop_pct", [1.0, 0.9])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(32, 32), (32, 48)])
def test_pixels_are_timm_s(mode: str, crop_pct: float, size: tuple[int, int]) -> None:
    settings = {
        "crop_mode": mode, "crop_pct": crop_pct, "interpolation": "bicubic",
        "mean": (0.5, 0.4, 0.3), "std": (0.5, 0.5, 0.5), "input_size": (3, *size),
    }  # fmt: skip
    preprocess = Preprocess.from_timm(settings)
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    for sides in ((90, 60), (50, 80)):
        picture = Image.fromarray(noise).resize(sides, Image.Resampling.BICUBIC)
        expected = timm.data.create_transform(**settings)(picture)
        assert (preprocess(picture)[0] - expected).abs().max() <= 2.1 / 127.5  # rounding
        assert Preprocess.from_dict(preprocess.to_dict()) == preprocess
    assert preprocess.at((64, 64)).crop(picture).shape == (3, 64, 64)


def test_a_swin_of_two_stages_and_labels_of_another_number(tmp_path: Path) -> None:
    settings = {
        "img_size": 32, "window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4),
        "num_classes": 3,
    }  # fmt: skip
    original = randomise(timm.create_model("swin_tiny_patch4_window7_224", **settings))
    save_for_hf(original, str(tmp_path), model_args=settings, safe_serialization=True)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "label_names": ["cat", "dog"]}))
    model = vitrail.load(tmp_path)
    close(model(images(32, 32)), original(images(32, 32)))
    assert model.labels is None


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    original = timm.create_model("vit_tiny_patch16_224", depth=1).half()
    save_timm(original, tmp_path, "vit_tiny_patch16_224", {"depth": 1})
    model = vitrail.load(tmp_path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_an_argument_that_changes_the_output_is_refused(tmp_path: Path) -> None:
    original = timm.create_model("vit_tiny_patch16_224", depth=1)
    save_timm(original, tmp_path, "vit_tiny_patch16_224", {"depth": 1, "act_layer": "relu"})
    with pytest.raises(LoadError, match="with act_layer='relu' is not supported"):
        vitrail.load(tmp_path)
