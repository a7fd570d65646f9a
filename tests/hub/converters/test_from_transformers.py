"""The same weights in transformers and here give the same numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import vitrail
from parity.oracle import close, images, randomise
from parity.pairs.vit import CLASSIFIERS, TINY, TRANSFORMERS, classifier, resized_logits
from vitrail.errors import LoadError
from vitrail.hub.method_folder import load_method


def saved(kind: str, folder: Path, settings: dict[str, Any]) -> Any:
    original = randomise(classifier(kind, settings))
    original.save_pretrained(folder)
    return original


@pytest.mark.parametrize("kind", CLASSIFIERS)
@torch.inference_mode()
def test_logits(kind: str, tmp_path: Path) -> None:
    original = saved(kind, tmp_path, TRANSFORMERS)
    model = vitrail.load(tmp_path)
    for size in ((32, 32), (48, 40)):
        close(model(images(*size)), resized_logits(original, images(*size)))
    original, model = original.double(), model.double()
    pixels = images(32, 32).double()
    close(model(pixels), resized_logits(original, pixels), 1e-10)


SWIN = {
    "image_size": 32, "patch_size": 4, "num_labels": 7, "embed_dim": 24, "depths": [2, 2],
    "num_heads": [2, 4], "window_size": 4,
}  # fmt: skip
BEIT_BIASES = ("use_relative_position_bias", "use_shared_relative_position_bias")
IN_MEMORY = [
    (transformers.ViTForImageClassification, transformers.ViTConfig, TRANSFORMERS),
    (transformers.DeiTForImageClassification, transformers.DeiTConfig, TRANSFORMERS),
    (transformers.Dinov2ForImageClassification, transformers.Dinov2Config, TRANSFORMERS),
    *(
        (
            transformers.BeitForImageClassification,
            transformers.BeitConfig,
            {**TRANSFORMERS, bias: True},
        )
        for bias in BEIT_BIASES
    ),
    (transformers.SwinForImageClassification, transformers.SwinConfig, SWIN),
]


@pytest.mark.parametrize(("architecture", "config", "settings"), IN_MEMORY)
@torch.inference_mode()
def test_weights_by_the_names_that_they_have_in_memory(
    architecture: Any, config: Any, settings: dict[str, Any], tmp_path: Path
) -> None:
    """As torch.save and accelerate write them; transformers itself writes others."""
    original = randomise(architecture(config(**settings)))
    original.save_pretrained(tmp_path)
    state = {f"module.{name}": tensor for name, tensor in original.state_dict().items()}
    assert state.keys() != {f"module.{name}" for name in load_file(tmp_path / "model.safetensors")}
    save_file(state, tmp_path / "model.safetensors")
    close(vitrail.load(tmp_path)(images(32, 32)), original(images(32, 32)).logits)


def test_a_decoder_by_the_names_that_it_has_in_memory(tmp_path: Path) -> None:
    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 3}
    decoder = {f"decoder_{name}": size for name, size in sizes.items()}
    config = transformers.ViTMAEConfig(
        **{**TRANSFORMERS, **sizes, **decoder}, decoder_intermediate_size=48
    )
    original = transformers.ViTMAEForPreTraining(config)
    original.save_pretrained(tmp_path)
    expected = load_method(tmp_path).state_dict()
    state = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    assert "decoder.decoder_layers.0.mlp.fc1.weight" in state
    save_file(state, tmp_path / "model.safetensors")
    for name, tensor in load_method(tmp_path).state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("kind", ["ViT", "DeiT two heads"])
@torch.inference_mode()
def test_logits_at_full_size(kind: str, tmp_path: Path) -> None:
    original = saved(kind, tmp_path, TINY)
    model = vitrail.load(tmp_path)
    for size in ((224, 224), (288, 240)):
        close(model(images(*size, batch=1)), resized_logits(original, images(*size, batch=1)))


@torch.inference_mode()
def test_features_of_bare_models(tmp_path: Path) -> None:
    for name, config, model in (
        ("vit", transformers.ViTConfig, transformers.ViTModel),
        ("deit", transformers.DeiTConfig, transformers.DeiTModel),
        ("dinov2", transformers.Dinov2Config, transformers.Dinov2Model),
    ):
        original = randomise(model(config(**TRANSFORMERS)))
        original.save_pretrained(tmp_path / name)
        ours = vitrail.load(tmp_path / name)
        features = ours.features(images(32, 32))
        joined = torch.cat([features.prefix, features.patches], dim=1)
        close(joined, original(images(32, 32)).last_hidden_state)
        hidden = original(images(32, 32), output_hidden_states=True).hidden_states[2]
        second = ours.intermediates(images(32, 32), [1])[0]
        close(torch.cat([second.prefix, second.patches], dim=1), hidden)


def test_preprocessing_and_labels_come_along(tmp_path: Path) -> None:
    saved("ViT", tmp_path, TRANSFORMERS)
    transformers.ViTConfig(
        **TRANSFORMERS | {"id2label": {i: f"class {i}" for i in range(7)}, "num_labels": 7}
    ).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"size": {"shortest_edge": 36}, "do_center_crop": true, "resample": 3, '
        '"crop_size": {"height": 32, "width": 32}, "image_mean": [0.4, 0.5, 0.6]}'
    )
    model = vitrail.load(tmp_path)
    assert model.labels == [f"class {i}" for i in range(7)]
    assert (model.preprocess.size, model.preprocess.resize) == ((32, 32), 36)
    assert model.preprocess.mean == (0.4, 0.5, 0.6)
    assert model.preprocess.interpolation == "bicubic"


@pytest.mark.parametrize(
    "settings",
    [
        {"do_rescale": False, "image_mean": [127.0] * 3, "image_std": [64.0] * 3},
        {"rescale_factor": 1 / 127.5},
        {"rescale_factor": 1 / 127.5, "do_normalize": False},
    ],
)
def test_pixels_on_another_scale(settings: dict[str, Any], tmp_path: Path) -> None:
    saved("ViT", tmp_path, TRANSFORMERS)
    size = {"height": 32, "width": 32}
    theirs = transformers.ViTImageProcessor(size=size, do_resize=False, **settings)
    theirs.save_pretrained(tmp_path)
    image = torch.randint(256, (3, 32, 32), dtype=torch.uint8)
    expected = torch.as_tensor(theirs(image, return_tensors="pt")["pixel_values"])
    torch.testing.assert_close(
        vitrail.load(tmp_path).preprocess(image), expected, rtol=1e-4, atol=1e-4
    )


def test_the_processor_of_pictures_and_texts_has_the_preprocessing(tmp_path: Path) -> None:
    """It is all that transformers 5 writes for a CLIP."""
    saved("ViT", tmp_path, TRANSFORMERS)
    theirs = transformers.CLIPImageProcessor(size={"shortest_edge": 36}, crop_size=32)
    settings = {"image_processor": theirs.to_dict(), "processor_class": "CLIPProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(settings))
    image = torch.randint(256, (3, 36, 36), dtype=torch.uint8)
    expected = torch.as_tensor(theirs(image, return_tensors="pt")["pixel_values"])
    torch.testing.assert_close(
        vitrail.load(tmp_path).preprocess(image), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("size", [{"height": 40, "width": 40}, 40])
def test_deit_squeezes_and_crops(size: Any, tmp_path: Path) -> None:
    """The short side alone is for others: Bit's, which DINOv2 uses, and CLIP's."""
    saved("DeiT", tmp_path, TRANSFORMERS)
    theirs = transformers.DeiTImageProcessor(size=size, crop_size=32)
    written = {**theirs.to_dict(), "size": size, "crop_size": 32}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(written))
    noise = torch.randint(256, (1, 3, 6, 9)).float()
    image = torch.nn.functional.interpolate(noise, (60, 90), mode="bilinear")[0].to(torch.uint8)
    expected = torch.as_tensor(theirs(image, return_tensors="pt")["pixel_values"])
    difference = vitrail.load(tmp_path).preprocess(image) - expected
    assert difference.abs().max() <= 2.1 / 127.5  # rounding


def test_a_projection_that_is_missing_is_named(tmp_path: Path) -> None:
    saved("ViT", tmp_path, TRANSFORMERS)
    state = load_file(tmp_path / "model.safetensors")
    del state["vit.encoder.layer.0.attention.attention.key.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(LoadError, match="there is .*q.weight, and .*k.weight is missing"):
        vitrail.load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"size": {"longest_edge": 32}}, "size=.*longest_edge.*preprocessor_config.json"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "size=.*not supported"),
        ({"size": {"height": 32, "width": 32}, "resample": 1}, "resample=1 of .*bicubic"),
    ],
)
def test_preprocessing_that_is_not_known_is_refused(
    settings: dict[str, Any], line: str, tmp_path: Path
) -> None:
    saved("ViT", tmp_path, TRANSFORMERS)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(LoadError, match=line):
        vitrail.load(tmp_path)


def test_an_adapter_of_peft_is_named(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    original = transformers.ViTModel(transformers.ViTConfig(**TRANSFORMERS))
    linear = next(n for n, m in original.named_modules() if isinstance(m, torch.nn.Linear))
    config = peft.LoraConfig(r=1, target_modules=[linear.rpartition(".")[2]])
    adapted = peft.get_peft_model(original, config)
    adapted.save_pretrained(str(tmp_path / "adapter"))
    with pytest.raises(LoadError, match="adapter of PEFT.*merge_and_unload"):
        vitrail.load(tmp_path / "adapter")
    saved("ViT", tmp_path, TRANSFORMERS)
    save_file(adapted.base_model.model.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(LoadError, match="adapter of PEFT.*merge_and_unload"):
        vitrail.load(tmp_path)


@pytest.mark.parametrize(
    ("problem", "target"),
    [("multi_label_classification", "labels"), ("regression", "numbers"), (None, "class")],
)
def test_what_logits_mean_comes_along(problem: str | None, target: str, tmp_path: Path) -> None:
    saved("ViT", tmp_path, {**TRANSFORMERS, "problem_type": problem})
    assert vitrail.load(tmp_path).outputs.target == target


def test_what_would_change_the_output_is_refused(tmp_path: Path) -> None:
    config = transformers.ViTConfig(**TRANSFORMERS, hidden_act="relu")
    transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(LoadError, match="hidden_act='relu'"):
        vitrail.load(tmp_path)


VISION = {
    "image_size": 32, "patch_size": 8, "hidden_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 3, "intermediate_size": 96,
}  # fmt: skip


@pytest.mark.parametrize("name", ["CLIPVisionModel", "CLIPVisionModelWithProjection"])
@torch.inference_mode()
def test_the_image_tower_of_clip_alone(name: str, tmp_path: Path) -> None:
    original = randomise(getattr(transformers, name)(transformers.CLIPVisionConfig(**VISION)))
    original.save_pretrained(tmp_path)
    model, output = vitrail.load(tmp_path), original(images(32, 32), output_hidden_states=True)
    pooled = model(images(32, 32))
    if name == "CLIPVisionModel":
        close(pooled, output.pooler_output)
    else:
        close(original.visual_projection(pooled), output.image_embeds)


@pytest.mark.parametrize("head", [True, False])
@torch.inference_mode()
def test_the_image_tower_of_siglip_alone(head: bool, tmp_path: Path) -> None:
    config = transformers.SiglipVisionConfig(**VISION, vision_use_head=head)
    original = randomise(transformers.SiglipVisionModel(config))
    original.save_pretrained(tmp_path)
    model, output = vitrail.load(tmp_path), original(images(32, 32))
    close(model.features(images(32, 32)).patches, output.last_hidden_state)
    expected = output.pooler_output if head else output.last_hidden_state.mean(dim=1)
    close(model(images(32, 32)), expected)


@pytest.mark.parametrize("name", ["CLIP", "Siglip"])
@torch.inference_mode()
def test_classifiers_of_clip_and_siglip(name: str, tmp_path: Path) -> None:
    config = getattr(transformers, f"{name}Config")(vision_config=VISION)
    config.num_labels, config.id2label = 3, {0: "cat", 1: "dog", 2: "emu"}
    original = randomise(getattr(transformers, f"{name}ForImageClassification")(config))
    original.save_pretrained(tmp_path / "theirs")
    model = vitrail.load(tmp_path / "theirs")
    close(model(images(32, 32)), original(images(32, 32)).logits)
    assert model.labels == ["cat", "dog", "emu"]
    again = vitrail.load(vitrail.save(model, tmp_path / "ours"))
    assert torch.equal(again(images(32, 32)), model(images(32, 32)))
