"""Which device a model runs on, and the processes that share the work."""

import pytest
import torch
import torch.distributed as dist

from tests.models.small import small
from tests.train.tiny import tiny
from vitrail.errors import ConfigError, TrainingError
from vitrail.run_folder import RunFolder
from vitrail.train import devices
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


def test_processes_that_are_started_anew_do_not_read_what_those_before_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    agent.set("address", "of a process that has ended")
    settings = {
        "RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": str(agent.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert devices._own_store() == {}
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    own = devices._own_store()
    assert (own["rank"], own["world_size"]) == (0, 1)
    assert not own["store"].check(["address"])
    own["store"].set("address", "new")
    assert agent.get("address") == b"of a process that has ended"


def test_other_processes_that_do_not_answer_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_keywords: object) -> None:
        raise RuntimeError("Gloo connectFullMesh failed: refused.\nmore")

    monkeypatch.setattr(devices, "PartialState", refuse)
    with pytest.raises(TrainingError) as caught:
        devices.join_processes()
    reason = "Gloo connectFullMesh failed: refused"
    assert str(caught.value) == (
        f"the other processes cannot be reached ({reason}): start all anew."
    )
