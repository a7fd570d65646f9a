"""A saved model: config.json and model.safetensors."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import vitrail
from tests.models.small import small
from vitrail.errors import ConfigError, LoadError
from vitrail.hub import model_folder
from vitrail.hub.model_folder import load_weights, read_model_config, read_weights
from vitrail.manifest import MANIFEST


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = small("ViT")
    model.labels, model.origin = list("abcde"), "a test"
    return vitrail.save(model, tmp_path / "model", metrics={"top1": 0.5})


def change(folder: Path, **values: object) -> None:
    """Changes entries of config.json."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def test_what_is_saved(folder: Path) -> None:
    config = read_model_config(folder)
    assert config["architecture"] == "ViT"
    assert config["metrics"] == {"top1": 0.5}
    model = vitrail.load(folder)
    assert (model.labels, model.origin) == (list("abcde"), "a test")
    assert model.preprocess == small("ViT").preprocess
    assert model.config == small("ViT").config


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_parameters_keep_their_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    vitrail.save(small("ViT").to(dtype), tmp_path / "model")
    model = vitrail.load(tmp_path / "model")
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


def test_a_folder_of_another_version_is_refused(folder: Path) -> None:
    change(folder, version=1)
    (folder / MANIFEST).unlink()
    with pytest.raises(LoadError, match="format version 1, and this Vitrail reads version 2"):
        vitrail.load(folder)


def test_an_unknown_architecture_is_refused(folder: Path) -> None:
    change(folder, architecture="VIT")
    (folder / MANIFEST).unlink()
    with pytest.raises(ConfigError, match="no model class 'VIT'. Did you mean 'ViT'"):
        vitrail.load(folder)


@pytest.mark.parametrize(
    ("content", "error"), [("{", "cannot be read"), ("[]", "holds no settings of a model")]
)
def test_a_config_that_is_none(content: str, error: str, folder: Path) -> None:
    (folder / "config.json").write_text(content)
    (folder / MANIFEST).unlink()
    with pytest.raises(LoadError, match=error):
        vitrail.load(folder)


def test_missing_files_are_named(folder: Path) -> None:
    weights = folder / model_folder.WEIGHTS
    weights.rename(folder / "pytorch_model.bin")
    (folder / MANIFEST).unlink()
    with pytest.raises(LoadError, match="has no model.safetensors. It has pytorch_model.bin"):
        vitrail.load(folder)
    (folder / "pytorch_model.bin").rename(folder / "model.fp16.safetensors")
    with pytest.raises(LoadError, match="It has model.fp16.safetensors: name it model.safetens"):
        vitrail.load(folder)
    (folder / "model.fp16.safetensors").unlink()
    with pytest.raises(LoadError, match="Is the download complete"):
        vitrail.load(folder)


def test_a_folder_around_checkpoints_is_told_from_a_model(folder: Path) -> None:
    folder.rename(folder.with_name("checkpoint-9"))
    with pytest.raises(LoadError, match="checkpoint-9 is one: give that"):
        vitrail.load(folder.parent)


def test_a_damaged_file_is_named(folder: Path) -> None:
    weights = folder / model_folder.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(LoadError, match="model.safetensors is damaged"):
        vitrail.load(folder)


def test_shards_are_read_together(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(1), "b": torch.zeros(2)}
    for name, tensor in tensors.items():
        safetensors.torch.save_file({name: tensor}, tmp_path / f"{name}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {n: f"{n}.safetensors" for n in tensors}}))
    assert read_weights(tmp_path).keys() == tensors.keys()
    index.write_text(json.dumps({"weight_map": {"a": "../a.safetensors"}}))
    with pytest.raises(LoadError, match="which is no file of this folder"):
        read_weights(tmp_path)
    index.write_text("[]")
    with pytest.raises(LoadError, match="cannot be read"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("weights", "error"),
    [
        ({}, r"here lacks bias \(1 more differ\)"),
        ({"weight": torch.ones(1, 2), "bias": torch.ones(1), "x": torch.ones(1)}, "here has x"),
        ({"weight": torch.ones(2, 1), "bias": torch.ones(1)}, r"weight is \(2, 1\), and .*\(1, 2"),
    ],
)
def test_weights_that_do_not_fit(weights: dict[str, torch.Tensor], error: str) -> None:
    with pytest.raises(LoadError, match=error):
        load_weights(nn.Linear(2, 1, device="meta"), weights, "here")


def test_weights_take_the_dtype_of_the_module_unless_asked() -> None:
    weights = {"weight": torch.ones(1, 2).half(), "bias": torch.ones(1).half()}
    for keep_dtype, dtype in ((False, torch.float32), (True, torch.float16)):
        layer = nn.Linear(2, 1, device="meta")
        load_weights(layer, weights, "here", keep_dtype=keep_dtype)
        assert layer.weight.dtype == dtype
        assert layer.weight.data_ptr() != weights["weight"].data_ptr()


@pytest.mark.parametrize("labels", ["cat", {"a": 1, "b": 2}, [None, "b"], {"a", "b"}, 2])
def test_what_is_no_list_of_names_is_not_saved(labels: object, tmp_path: Path) -> None:
    model = small("ViT", num_classes=2)
    model.labels = labels  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"^labels=.* is no list of names: give one"):
        vitrail.save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()
