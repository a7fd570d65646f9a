"""Models that several processes train are saved as the model inside."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

import vitrail
from tests.models.small import images_for, small
from vitrail.errors import ConfigError
from vitrail.models.base import Backbone


def start(folder: Path, rank: int, processes: int) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=processes)


def model() -> Backbone:
    torch.manual_seed(0)
    return small("ViT").eval()


@torch.no_grad()
def check(folder: Path) -> None:
    images = images_for(model())
    torch.testing.assert_close(vitrail.load(folder)(images), model()(images), rtol=0, atol=1e-6)


def test_a_model_of_one_process(tmp_path: Path) -> None:
    start(tmp_path, 0, 1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(model())
        check(vitrail.save(wrapped, tmp_path / "model"))
        check(vitrail.save(torch.compile(wrapped, backend="eager"), tmp_path / "compiled"))
    finally:
        dist.destroy_process_group()


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    root = Path(folder)
    start(root, rank, 2)
    wrapped = nn.parallel.DistributedDataParallel(model())
    if rank == 0:
        check(vitrail.save(wrapped, root / "replicated"))
    cpu = torch.device("cpu")
    for name, sharded in (
        ("fully_shard", fully_shard(model())),
        ("FullyShardedDataParallel", FullyShardedDataParallel(model(), device_id=cpu)),
    ):
        with pytest.raises(ConfigError, match=r"is sharded over several processes \(FSDP\)"):
            vitrail.save(sharded, root / name)
        weights = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True))
        if rank == 0:
            whole = small("ViT")
            whole.load_state_dict(weights)
            check(vitrail.save(whole, root / name))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_models_of_two_processes(tmp_path: Path) -> None:
    mp.start_processes(work, (str(tmp_path),), nprocs=2, start_method="spawn")
    saved = {"replicated", "fully_shard", "FullyShardedDataParallel"}
    assert saved <= {path.name for path in tmp_path.iterdir()}
