"""`vitrail.hub.convert`: another library's folder, pickled or not, becomes one of Vitrail."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

import vitrail
from parity.oracle import images, randomise
from parity.pairs.vit import TRANSFORMERS, classifier
from tests.models.small import small
from vitrail.errors import ConfigError, LoadError, VitrailError
from vitrail.hub.convert import convert


@pytest.fixture
def original(tmp_path: Path) -> transformers.PreTrainedModel:
    model = randomise(classifier("ViT", TRANSFORMERS))
    model.save_pretrained(tmp_path / "theirs")
    return model


@torch.inference_mode()
@pytest.mark.usefixtures("original")
def test_safe_and_pickled_folders(tmp_path: Path) -> None:
    theirs, pixels = tmp_path / "theirs", images(32, 32)
    expected = vitrail.load(theirs)(pixels)
    convert(theirs, tmp_path / "safe")
    weights = theirs / "model.safetensors"
    torch.save(load_file(weights), theirs / "pytorch_model.bin")
    weights.unlink()
    convert(theirs, tmp_path / "pickled")
    for folder in ("safe", "pickled"):
        model = vitrail.load(tmp_path / folder)
        assert torch.equal(model(pixels), expected)
        assert model.origin == "transformers weights of theirs"


@pytest.mark.usefixtures("original")
def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="mine exists: choose a new folder"):
        convert(tmp_path / "theirs", tmp_path / "mine")


def test_a_pickle_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    torch.save([1, 2], tmp_path / "pytorch_model.bin")
    with pytest.raises(LoadError, match="holds no weights by name"):
        convert(tmp_path, tmp_path / "new")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "model."])
@torch.inference_mode()
def test_prefixes_of_wrappers_are_removed(
    original: transformers.PreTrainedModel, prefix: str, tmp_path: Path
) -> None:
    file = tmp_path / "theirs" / "model.safetensors"
    weights = {prefix + name: tensor for name, tensor in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})
    expected = original(images(32, 32)).logits
    assert torch.allclose(vitrail.load(tmp_path / "theirs")(images(32, 32)), expected, atol=1e-5)


@pytest.mark.usefixtures("original")
@torch.inference_mode()
def test_pickled_shards_beside_what_a_trainer_writes(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    expected = vitrail.load(theirs)(images(32, 32))
    weights = load_file(theirs / "model.safetensors")
    (theirs / "model.safetensors").unlink()
    names = sorted(weights)
    files = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    weight_map = {name: files[i % 2] for i, name in enumerate(names)}
    for file in files:
        part = {name: weights[name] for name in names if weight_map[name] == file}
        torch.save(part, theirs / file)
    (theirs / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    torch.save({"state": {}}, theirs / "optimizer.pt")
    model = vitrail.load(convert(theirs, tmp_path / "new"))
    assert torch.equal(model(images(32, 32)), expected)
    (theirs / files[1]).unlink()
    with pytest.raises(LoadError, match="has no pytorch_model-00002-of-00002.bin"):
        convert(theirs, tmp_path / "newer")


def test_a_checkpoint_of_transformers_trainer(tmp_path: Path) -> None:
    model = randomise(classifier("ViT", TRANSFORMERS))
    arguments = transformers.TrainingArguments(
        tmp_path / "run", max_steps=1, per_device_train_batch_size=2, save_steps=1,
        report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    rows = [{"pixel_values": images(32, 32)[0], "labels": 1}] * 2
    transformers.Trainer(model, arguments, train_dataset=rows).train()
    loaded, pixels = vitrail.load(tmp_path / "run" / "checkpoint-1"), images(32, 32)
    expected = model.eval()(pixels).logits
    assert torch.allclose(loaded(pixels), expected, atol=1e-5)


ARCHITECTURES: dict[str, dict[str, object]] = {
    "vit_tiny_patch16_224": {},
    "vit_small_patch14_reg4_dinov2": {},
    "deit3_small_patch16_224": {"num_classes": 7},
    "pit_ti_224": {"num_classes": 3},
    "levit_128s": {},
    "vit_tiny_patch16_384": {"img_size": 96},  # another size than its name says
    "deit_tiny_distilled_patch16_224": {"img_size": 64},
}


QUICK = ("vit_tiny_patch16_224", "levit_128s", "deit_tiny_distilled_patch16_224")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in ARCHITECTURES],
)
@torch.inference_mode()
def test_a_state_dict_of_a_named_architecture(name: str, tmp_path: Path) -> None:
    original = randomise(timm.create_model(name, **ARCHITECTURES[name]))
    side = int(ARCHITECTURES[name].get("img_size", original.pretrained_cfg["input_size"][1]))
    torch.save({"model": original.state_dict(), "epoch": 3}, tmp_path / "plain.pth")
    save_file(original.state_dict(), tmp_path / "plain.safetensors")
    for file in ("plain.pth", "plain.safetensors"):
        model = vitrail.load(tmp_path / file, architecture=name)
        assert torch.allclose(model(images(side, side)), original(images(side, side)), atol=1e-4)
    folder = convert(tmp_path / "plain.pth", tmp_path / "ours", architecture=name)
    assert torch.equal(vitrail.load(folder)(images(side, side)), model(images(side, side)))


VARIANTS = ["cait_xxs24_224", "cct_7_7x2_224", "deit_tiny_distilled_patch16_224", "pit_ti_224",
            "vim_tiny", "vit_tiny_patch16_224"]  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_a_state_dict_of_a_variant_at_its_size_and_another(name: str, tmp_path: Path) -> None:
    for more in ({}, {"image_size": 96} if name not in ("pit_ti_224", "cct_7_7x2_224") else {}):
        model = vitrail.create_model(name, num_classes=3, **more).eval()
        torch.save(model.state_dict(), tmp_path / "x.pth")
        loaded = vitrail.load(tmp_path / "x.pth", architecture=name)
        assert loaded.image_size == model.image_size
        image = images(*model.image_size)
        assert torch.equal(loaded(image), model(image))


@torch.inference_mode()
def test_a_state_dict_of_vitrail_and_of_pretraining(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    model = vitrail.create_model(name, num_classes=4).eval()
    torch.save(nn.DataParallel(model).state_dict(), tmp_path / "ours.pt")
    loaded = vitrail.load(tmp_path / "ours.pt", architecture=name)
    assert torch.equal(loaded(images(224, 224)), model(images(224, 224)))
    original = randomise(timm.create_model(name, num_classes=0))
    extra = {"mask_token": torch.zeros(1, 1, 192), "decoder_pred.bias": torch.zeros(2)}
    torch.save({"model": {**original.state_dict(), **extra}}, tmp_path / "mae.pth")
    loaded = vitrail.load(tmp_path / "mae.pth", architecture=name)
    assert torch.allclose(loaded(images(224, 224)), original(images(224, 224)), atol=1e-5)


@pytest.mark.parametrize("prefix", ["encoder_q.", "module.student.backbone.", "visual.trunk."])
@pytest.mark.parametrize("keys", [("weights",), ("checkpoint", "module")])
@torch.inference_mode()
def test_a_network_within_another_under_any_name(
    prefix: str, keys: tuple[str, ...], tmp_path: Path
) -> None:
    name = "vit_tiny_patch16_224"
    model = vitrail.create_model(name, image_size=32, depth=12, num_classes=2).eval()
    content: Any = {prefix + key: tensor for key, tensor in model.state_dict().items()}
    for key in keys:
        content = {key: content, "epoch": 3}
    torch.save(content, tmp_path / "x.pth")
    loaded = vitrail.load(tmp_path / "x.pth", architecture=name)
    assert torch.equal(loaded(images(32, 32)), model(images(32, 32)))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"model": {"x": torch.zeros(1)}}, "the weight 'x' belongs to no module"),
        ({"epoch": 3}, "holds no weights by name: its entry 'epoch' is int"),
        ({}, "holds no weights by name"),
        (nn.Linear(1, 1), r"cannot be read safely.*model.state_dict\(\)"),
    ],
)
def test_files_that_are_no_state_dict(content: object, error: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(LoadError, match=error):
        vitrail.load(tmp_path / "x.pth", architecture="vit_tiny_patch16_224")


@pytest.mark.parametrize("theirs", [False, True])
@torch.no_grad()
def test_channels_of_a_named_architecture_are_those_of_the_weights(
    theirs: bool, tmp_path: Path
) -> None:
    name = "vit_tiny_patch16_224"
    original: Any = (
        timm.create_model(name, img_size=32, in_chans=1, num_classes=2)
        if theirs
        else vitrail.create_model(name, image_size=32, channels=1, num_classes=2)
    ).eval()
    torch.save(original.state_dict(), tmp_path / "x.pth")
    loaded = vitrail.load(tmp_path / "x.pth", architecture=name)
    image = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(loaded(image), original(image), rtol=1e-5, atol=1e-5)
    assert loaded.preprocess.channels == 1


@pytest.mark.parametrize("kind", ["on the meta device", "sparse"])
def test_weights_without_dense_values(kind: str, tmp_path: Path) -> None:
    weights = vitrail.create_model("vit_tiny_patch16_224", num_classes=2).state_dict()
    head = weights["head.weight"]
    weights["head.weight"] = head.to_sparse() if kind == "sparse" else head.to("meta")
    torch.save(weights, tmp_path / "x.pth")
    with pytest.raises(LoadError, match=f"head.weight is {kind}: save the values"):
        vitrail.load(tmp_path / "x.pth", architecture="vit_tiny_patch16_224")


def test_an_architecture_that_is_unknown_or_does_not_fit(tmp_path: Path) -> None:
    torch.save(small("ViT").state_dict(), tmp_path / "x.pth")
    with pytest.raises(LoadError, match="Did you mean 'vit_small_patch16_224'"):
        vitrail.load(tmp_path / "x.pth", architecture="vit_small_patch16_22")
    with pytest.raises(LoadError):
        vitrail.load(tmp_path / "x.pth", architecture="vit_tiny_patch16_224")
    with pytest.raises(LoadError, match="--as vit_small_patch16_224"):
        vitrail.load(tmp_path / "x.pth")


CONFIGS: list[dict[str, object]] = [
    {"model_type": "vit", "hidden_size": "32"},
    {"model_type": "vit", "num_hidden_layers": 10**9},
    {"model_type": "vit", "image_size": 10**12},
    {"model_type": "vit", "image_size": None},
    {"model_type": "vit", "num_attention_heads": 0},
    {"model_type": "vit", "id2label": ["a"] * 7},
    {"model_type": "vit", "id2label": dict.fromkeys("abcdefg", "x")},
    {"model_type": ["vit"]},
    {"model_type": "clip", "vision_config": [1]},
    {"architecture": None, "pretrained_cfg": {}},
    {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": None},
    {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {}, "model_args": [1]},
]


@pytest.mark.parametrize("values", CONFIGS)
@pytest.mark.usefixtures("original")
def test_configs_of_others_with_wrong_values_get_one_line(
    values: dict[str, object], tmp_path: Path
) -> None:
    file = tmp_path / "theirs" / "config.json"
    old = json.loads(file.read_text()) if "model_type" in values else {}
    file.write_text(json.dumps({**old, **values}))
    with pytest.raises(VitrailError) as error:
        vitrail.load(tmp_path / "theirs")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["[1]", "{", '{"size": "big"}'])
@pytest.mark.usefixtures("original")
def test_a_preprocessor_that_cannot_be_read(content: str, tmp_path: Path) -> None:
    (tmp_path / "theirs" / "preprocessor_config.json").write_text(content)
    with pytest.raises(LoadError, match="config.json cannot be (understood|read)"):
        vitrail.load(tmp_path / "theirs")
