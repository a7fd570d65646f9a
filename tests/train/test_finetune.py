"""Fine-tuning a pretrained model that has no head."""

from pathlib import Path

import pytest
import torch

import vitrail
from tests.models.small import small
from tests.train.tiny import tiny
from vitrail.errors import ConfigError
from vitrail.hub.model_folder import save
from vitrail.preprocess import Preprocess
from vitrail.train.data_factory import open_datasets
from vitrail.train.factory import train_run
from vitrail.train.model_factory import build_model

QUICK = ("data.augment={crop: none, flip: 0}", "schedule.epochs=1")


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A headless model, with the labels of its images."""
    model = small("ViT", image_size=8, patch_size=2, channels=1, num_classes=0, drop_path=0.0)
    model.preprocess = Preprocess((8, 8), None, "bilinear", (0.5,), (0.5,))
    model.labels = [str(i) for i in range(10)]
    return save(model, tmp_path / "pretrained")


def test_full_with_layer_decay(pretrained: Path, tmp_path: Path) -> None:
    run = tiny(
        f"model.weights={pretrained}", "model.options={drop_path: 0.2}", "optim.layer_decay=0.5",
        "optim.ema=0", *QUICK,
    )  # fmt: skip
    train_run(run, tmp_path / "run")
    before, after = vitrail.load(pretrained), vitrail.load(tmp_path / "run")
    assert after.num_classes == 10 and after.config["drop_path"] == 0.2
    moved = [
        (after.state_dict()[key] - value).abs().max().item()
        for key, value in before.state_dict().items()
        if key.endswith("fc1.weight")
    ]
    assert moved == sorted(moved) and moved[-1] > 1.5 * moved[0] > 0


@pytest.mark.parametrize("method", ["linear_probe", "attentive_probe"])
def test_probes_leave_the_weights_alone(method: str, pretrained: Path, tmp_path: Path) -> None:
    run = tiny(f"model.weights={pretrained}", "model.options={}", f"method.name={method}",
               *(["method.heads=2"] if method == "attentive_probe" else []), *QUICK)  # fmt: skip
    train_run(run, tmp_path / "run")
    before, after = vitrail.load(pretrained), vitrail.load(tmp_path / "run")
    assert after.labels == [str(i) for i in range(10)]
    assert after.num_classes == (10 if method == "linear_probe" else 0)
    for key, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[key])


def test_they_change_on_a_model_of_other_size_and_depth(pretrained: Path) -> None:
    options = "model.options={image_size: 12, depth: 2, drop_path: 0.3}"
    run = tiny(f"model.weights={pretrained}", options)
    model = build_model(run, open_datasets(run).train)
    assert model.image_size == (12, 12) and model.depth == 2 and model.num_classes == 10
    assert model.blocks[-1].drop_path.rate == pytest.approx(0.3)
    assert model.preprocess.size == (12, 12)


def test_errors_of_options_name_their_setting(pretrained: Path) -> None:
    run = tiny(f"model.weights={pretrained}", "model.options={heads: 4}")
    with pytest.raises(ConfigError, match=r"^model\.options: .*heads"):
        build_model(run, open_datasets(run).train)
