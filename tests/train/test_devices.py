"""Which device a model runs on."""

import pytest
import torch

from tests.models.small import small
from tests.train.tiny import tiny
from vitrail.errors import ConfigError
from vitrail.run_folder import RunFolder
from vitrail.train.data_factory import open_datasets
from vitrail.train.devices import choose_device
from vitrail.train.factory import build_trainer
from vitrail.train.inference import open_model


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_the_accelerator_is_taken_if_there_is_one() -> None:
    assert choose_device() == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="'cuda:2' is none of .*, cuda, cuda:0, cuda:1, cpu"):
        choose_device("cuda:2")


@pytest.mark.usefixtures("two_gpus")
def test_a_model_runs_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[torch.device] = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda _model, device: moves.append(device))
    model = small("ViT").eval()
    assert open_model(model) is model and not moves  # it has a device
    assert open_model(model, device="cuda:1") is not model
    assert moves == [torch.device("cuda:1")]


def test_without_an_accelerator_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")
    with pytest.raises(ConfigError, match="device='cuda' is none of this machine's, cpu: leave"):
        choose_device("cuda")


def test_a_run_takes_the_device_of_its_settings() -> None:
    config = tiny("data.limit=64", "train.device=tpu")
    with pytest.raises(ConfigError, match="device='tpu'"):
        build_trainer(config, RunFolder("unused"), open_datasets(config))
    config = tiny("data.limit=64", "train.device=cpu")
    trainer, _ = build_trainer(config, RunFolder("unused"), open_datasets(config))
    assert trainer.device == torch.device("cpu")
