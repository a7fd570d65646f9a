"""What is saved can be loaded and computes the same; what is read is checked, and then built."""

import copy
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils.prune import l1_unstructured
from torch.optim.swa_utils import AveragedModel

import vitrail
from tests.models.small import images_for, small
from vitrail.errors import ConfigError, LoadError, VitrailError
from vitrail.hub.method_folder import load_method, save_method
from vitrail.methods.registry import create_method
from vitrail.models.base import Backbone


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize(
    "wrap",
    [
        compiled,
        nn.DataParallel,
        AveragedModel,
        lambda model: nn.DataParallel(compiled(model)),
        lambda model: compiled(nn.DataParallel(model)),
    ],
)
@torch.no_grad()
def test_wrapped_models_are_saved_without_their_wrapper(wrap: Any, tmp_path: Path) -> None:
    model = small("ViT").eval()
    loaded = vitrail.load(vitrail.save(wrap(model), tmp_path / "model"))
    assert torch.equal(loaded(images_for(model)), model(images_for(model)))


@torch.no_grad()
def test_compiled_blocks_are_saved_by_their_own_names(tmp_path: Path) -> None:
    model = small("ViT").eval()
    model.blocks[0] = compiled(model.blocks[0])
    model.blocks[1].compile(backend="eager")
    loaded = vitrail.load(vitrail.save(model, tmp_path / "model"))
    assert torch.equal(loaded(images_for(model)), model(images_for(model)))


def replace_head(model: Any) -> None:
    model.head = nn.Sequential(nn.Linear(32, 9))


def replace_activation(model: Any) -> None:
    model.blocks[1].mlp.activation = nn.ReLU()


def normalize_weights(model: Any) -> None:
    nn.utils.parametrizations.weight_norm(model.blocks[0].mlp.fc1)


def prune(model: Any) -> None:
    l1_unstructured(model.head, "weight", 0.5)


def normalize_old(model: Any) -> None:
    nn.utils.weight_norm(model.head)


def normalize_spectrum_old(model: Any) -> None:
    nn.utils.spectral_norm(model.head)


def make_sparse(model: Any) -> None:
    model.head.weight = nn.Parameter(model.head.weight.detach().to_sparse())


def claim_classes(model: Any) -> None:
    model.num_classes, model.labels = 7, list("abcdefg")


def add_adapters(model: Any) -> None:
    vitrail.train.adapt(model, 2)


def add_a_module(model: Any) -> None:
    model.extra = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (replace_head, r"head.weight is missing, .* \(5, 32\), .*model.reset_head\(num_classes"),
        (replace_activation, "blocks.1.mlp.activation is ReLU, and in ViT built anew .* GELU"),
        (normalize_weights, "blocks.0.mlp.fc1.weight is missing, and in ViT"),
        (normalize_weights, "end it by torch.nn.utils.parametrize.remove_parametrizations"),
        (prune, "head.weight is missing, .* end the pruning by torch.nn.utils.prune.remove"),
        (normalize_old, "head.weight is missing, .* by torch.nn.utils.remove_weight_norm"),
        (normalize_spectrum_old, "head.weight is missing, .* by .*remove_spectral_norm"),
        (make_sparse, "head.weight is sparse: replace it with its to_dense"),
        (claim_classes, "the model has 7 labels and 5 classes"),
        (add_adapters, "blocks.0.mixer.qkv.weight is missing, .* adapters by vitrail.train.merge"),
        (add_a_module, "extra.weight is .* missing, so that what is saved could not be loaded"),
        (lambda model: model.to("meta"), "ViT on the meta device has no weights"),
        (
            lambda model: setattr(model.norm, "eps", 0.1),
            "norm.eps is 0.1, and in ViT built .* 1e-06",
        ),
        (lambda model: setattr(model.blocks[0].mixer, "heads", 4), "blocks.0.mixer.heads is 4"),
        (lambda model: setattr(model.blocks[0].mixer.attend, "scale", 1.0), "attend.scale is 1.0"),
        (lambda model: setattr(model, "preprocess", None), "preprocess=None is not a Preprocess"),
        (lambda model: setattr(model, "labels", ["a"]), "has 1 labels and 5 classes"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(change: Any, error: str, tmp_path: Path) -> None:
    model = small("ViT")
    change(model)
    with pytest.raises(ConfigError, match=error):
        vitrail.save(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_labels_of_another_number_are_not_predicted() -> None:
    model = small("ViT")
    model.labels = ["a", "b"]
    with pytest.raises(ConfigError, match="2 labels and 5 classes: set model.labels"):
        vitrail.predict(model, torch.zeros(3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize("assigned", [False, True])
def test_another_head_is_saved(assigned: bool, tmp_path: Path) -> None:
    model = small("ViT")
    model.labels = list("abcde")
    if assigned:
        model.head = nn.Linear(32, 9)
    else:
        model.reset_head(9)
    assert vitrail.load(vitrail.save(model, tmp_path / "model")).num_classes == 9
    assert model.labels is None
    model.head = nn.Identity()
    loaded = vitrail.load(vitrail.save(model, tmp_path / "features"))
    assert loaded(images_for(model)).shape == (2, 32)


def test_shared_weights_are_saved_as_copies(tmp_path: Path) -> None:
    model: Any = small("ViT").eval()
    model.blocks[1].mlp.fc1.weight = model.blocks[0].mlp.fc1.weight
    loaded = vitrail.load(vitrail.save(model, tmp_path / "model"))
    assert torch.equal(loaded(images_for(model)), model(images_for(model)))


@torch.no_grad()
def test_what_changes_no_output_is_saved(tmp_path: Path) -> None:
    model: Any = small("ViT").eval()
    model.blocks[1] = model.blocks[0]
    images = images_for(model)
    loaded = vitrail.load(vitrail.save(model, tmp_path / "shared"))
    assert torch.equal(loaded(images), model(images))
    normed = small("LeViT").eval()
    synchronized = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(normed))
    loaded = vitrail.load(vitrail.save(synchronized, tmp_path / "synchronized"))
    assert torch.equal(loaded(images_for(normed)), normed(images_for(normed)))


def test_what_is_around_or_before_the_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Recorder is .*: save the model in it, its model"):
        vitrail.save(vitrail.Recorder(small("ViT")), tmp_path)
    with pytest.raises(ConfigError, match="use the model before it is fused"):
        vitrail.save(vitrail.deploy.fuse(small("LeViT")), tmp_path)


@pytest.mark.parametrize("other", ["file", "thesis.txt", "theirs"])
def test_nothing_of_the_users_is_deleted(other: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    if other == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        name = "config.json" if other == "theirs" else other
        (folder / name).write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ConfigError, match="choose a"):
        vitrail.save(small("ViT"), folder)
    assert folder.is_file() or len(list(folder.iterdir())) == 1


def test_an_own_folder_is_replaced(tmp_path: Path) -> None:
    vitrail.save(small("ViT"), tmp_path / "model")
    vitrail.save(small("Swin"), tmp_path / "model")
    assert type(vitrail.load(tmp_path / "model")).__name__ == "Swin"


def test_metrics_are_plain_or_refused(tmp_path: Path) -> None:
    metrics = {"a": np.float32(0.5), "b": torch.tensor(2)}
    folder = vitrail.save(small("ViT"), tmp_path / "model", metrics=metrics)
    assert json.loads((folder / "config.json").read_text())["metrics"] == {"a": 0.5, "b": 2}
    with pytest.raises(ConfigError, match="no plain value"):
        vitrail.save(small("ViT"), tmp_path / "model", metrics={"a": torch.zeros(2)})


def test_only_models_are_saved(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Linear is no model of Vitrail: save its state_dict"):
        vitrail.save(nn.Linear(2, 2), tmp_path / "model")  # type: ignore[arg-type]


def test_a_method_whose_parts_were_replaced_is_not_saved(tmp_path: Path) -> None:
    method: Any = create_method("mae", small("ViT"), decoder_dim=16, decoder_depth=1)
    vitrail.save(method.backbone, tmp_path / "model")
    save_method(method, "mae", tmp_path / "method")
    assert load_method(tmp_path).settings == method.settings
    method.decoder.blocks[0].mlp.activation = nn.ReLU()
    with pytest.raises(ConfigError, match="activation is ReLU, and in the method 'mae'"):
        save_method(method, "mae", tmp_path / "other")


# What is read.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return vitrail.save(small("ViT"), tmp_path / "model")


def change(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize(
    "values",
    [
        {"keywords": None},
        {"keywords": []},
        {"keywords": {"dim": 8}},
        {"architecture": None},
        {"preprocess": {}, "labels": "ab"},
        {"preprocess": {"size": 3, "x": 1}},
        {"labels": ["a"]},
        {"labels": {"0": "a"}},
    ],
)
def test_configs_with_wrong_values_get_one_line(values: dict[str, Any], folder: Path) -> None:
    change(folder, **values)
    with pytest.raises(VitrailError) as error:
        vitrail.load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["image_size", "dim", "depth", "heads", "mlp_dim", "num_classes"])
@pytest.mark.parametrize("model", ["ViT", "BEiT", "Swin", "CrossFormer"])
def test_huge_settings_are_refused_before_anything_is_built(
    name: str, model: str, tmp_path: Path
) -> None:
    folder = vitrail.save(small(model), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    if name not in config["keywords"]:
        return
    start = time.monotonic()
    for size in (10**6, 10**9, 10**30):
        change(folder, keywords={**config["keywords"], name: size})
        with pytest.raises(VitrailError):
            vitrail.load(folder)
    assert time.monotonic() - start < 5


def test_files_that_are_no_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for content in (b"", whole[:-10], b"<html>", b"PK\x03\x04" + bytes(100), whole[:9]):
        file.write_bytes(content)
        with pytest.raises(LoadError, match="model.safetensors is damaged"):
            vitrail.load(folder)
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(LoadError, match="pointer of Git LFS, not the weights: `git lfs pull`"):
        vitrail.load(folder)


def test_quantized_weights_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = safetensors.torch.load_file(file)
    weights["norm.weight"] = weights["norm.weight"].to(torch.int8)
    safetensors.torch.save_file(weights, file)
    (folder / "manifest.json").unlink()
    with pytest.raises(LoadError, match="norm.weight is torch.int8, .* quantized weights"):
        vitrail.load(folder)


def test_a_loaded_model_can_have_nan(folder: Path) -> None:
    model: Backbone = small("ViT")
    model.norm.weight.data.fill_(math.nan)
    assert vitrail.load(vitrail.save(model, folder)).norm.weight.isnan().all()
