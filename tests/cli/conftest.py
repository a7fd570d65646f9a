"""The command line, in a folder of its own, with photographs and a recipe that takes seconds."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from tests.models.small import small
from vitrail.cli.main import main
from vitrail.models.base import Backbone
from vitrail.preprocess import Preprocess

Command = Callable[..., tuple[int, str, str]]

SETTINGS: dict[str, Any] = {
    "model": {
        "name": "ViT",
        "options": {
            "patch_size": 2, "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 64, "pool": "mean",
        },
    },
    "data": {"source": "digits", "batch_size": 32, "augment": {"crop": "padded", "flip": 0.0}},
    "optim": {"lr": 0.003, "ema": 0.9},
    "schedule": {"epochs": 1},
    "train": {"threads": 1, "log_every": 3, "monitor": False},  # its charts take seconds
}  # fmt: skip


@pytest.fixture
def vitrail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Runs the command line in `tmp_path`; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["vitrail", *arguments])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def settings(**sections: dict[str, Any]) -> dict[str, Any]:
    """`SETTINGS` with changes by section."""
    values = copy.deepcopy(SETTINGS)
    for section, changes in sections.items():
        values[section] = {**values.get(section, {}), **changes}
    return values


def write_recipe(path: Path, **sections: dict[str, Any]) -> Path:
    """Writes `settings` as a recipe."""
    path.write_text(yaml.safe_dump(settings(**sections)), "utf-8")
    return path


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A picture of noise."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (size[1], size[0], 3), dtype=torch.uint8, generator=generator)
    return Image.fromarray(pixels.numpy())


def photographs(root: Path, per_class: int = 5) -> Path:
    """Pictures of cats and dogs, in a folder per class."""
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for number in range(per_class):
            picture(number).save(root / label / f"{number}.jpg")
    return root


def digits_model(name: str = "ViT", **keywords: Any) -> Backbone:
    """A small untrained model without a head, for the digits dataset."""
    sizes: dict[str, Any] = {"image_size": 8, "patch_size": 2, "channels": 1, "num_classes": 0}
    model = small(name, **{**sizes, **keywords})
    model.preprocess = Preprocess((8, 8), None, "bilinear", (0.5,), (0.5,))
    return model
