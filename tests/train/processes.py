"""Runs a function in several processes that train together, without a launcher."""

import importlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from accelerate.state import AcceleratorState, PartialState


def forget_parent() -> None:
    """Lets the child of a fork find out anew that it is one of several processes."""
    # Private, as in accelerate's own tests: without it the child believes the parent's state, that
    # it is alone. Every test with two processes would notice.
    AcceleratorState._reset_state(True)
    PartialState._reset_state()


def _work(rank: int, processes: int, meet: str, function: Callable[..., Any], args: tuple) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(processes), LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="1")  # accelerate asks, and uses neither
    forget_parent()
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=processes)
    result = function(*args)
    torch.save(result, f"{meet}-{rank}")
    dist.barrier()
    dist.destroy_process_group()


def in_processes(processes: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """What a function returns in each of several processes.

    Forking spares each of them the imports.
    """
    importlib.import_module("tests.faults.warm")
    with tempfile.TemporaryDirectory() as folder:
        meet = str(Path(folder) / "meet")
        mp.start_processes(
            _work, (processes, meet, function, args), nprocs=processes, start_method="fork"
        )
        return [torch.load(f"{meet}-{rank}", weights_only=False) for rank in range(processes)]
