"""`vitrail.hub.convert`: another library's folder, pickled or not, becomes one of Vitrail."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

import vitrail
from parity.oracle import images, randomise
from parity.pairs.vit import TRANSFORMERS, classifier
from vitrail.errors import ConfigError, LoadError
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
