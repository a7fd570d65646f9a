"""--device, in every command that runs a model."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command, picture
from tests.models.small import small
from vitrail.hub.model_folder import save

ARGUMENTS = {
    "predict": ["photo.jpg", "--model", "model"],
    "look": ["photo.jpg", "--model", "model"],
    "features": ["photo.jpg", "--model", "model", "--out", "f.npy"],
    "eval": ["model", "--data", "digits"],
    "export": ["model", "model.pt2"],
    "train": ["digits"],
}


@pytest.mark.parametrize("command", ARGUMENTS)
def test_an_unknown_device_is_one_line(command: str, vitrail: Command, tmp_path: Path) -> None:
    picture().save(tmp_path / "photo.jpg")
    save(small("ViT"), tmp_path / "model")
    code, _, errors = vitrail(command, *ARGUMENTS[command], "--device", "tpu")
    assert code == 2
    assert errors.startswith("error: --device='tpu' is none of this machine's, ")
    assert errors.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "photo.jpg"]


def test_the_cpu_is_always_there(vitrail: Command, tmp_path: Path) -> None:
    picture().save(tmp_path / "photo.jpg")
    save(small("ViT"), tmp_path / "model")
    code, output, errors = vitrail("predict", *ARGUMENTS["predict"], "--device", "cpu")
    assert code == 0, errors
    assert output.startswith("photo.jpg: ")
