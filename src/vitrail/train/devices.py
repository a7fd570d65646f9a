"""The device that a model runs on, by name, and the processes that share the work."""

import os
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from vitrail.errors import ConfigError, TrainingError


def choose_device(name: str | torch.device | None = None) -> torch.device:
    """A device of this machine.

    Args:
        name: "cpu", "cuda", "cuda:1" for the second GPU, "mps" ...; None for the accelerator if
            there is one, and otherwise the CPU.

    Returns:
        The device.

    Raises:
        ConfigError: there is no such device.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    names, available = ["cpu"], torch.accelerator.is_available()
    if available and (accelerator := torch.accelerator.current_accelerator()) is not None:
        indices = range(torch.accelerator.device_count())
        names = [accelerator.type, *(f"{accelerator.type}:{i}" for i in indices), *names]
    if name is None:
        local = int(os.environ.get("LOCAL_RANK", "0"))  # each process of a launcher has its own
        return torch.device(names[1 + local] if 0 < local < len(names) - 2 else names[0])
    if str(name) not in names:
        raise ConfigError(
            f"device={str(name)!r} is none of this machine's, {', '.join(names)}: leave it out for "
            f"{names[0]}."
        )
    return torch.device(name)


def process_shard() -> tuple[int, int]:
    """Which of the processes this is that a launcher such as torchrun has started together.

    Returns:
        (rank, number of processes).

    Example:
        >>> process_shard()
        (0, 1)
    """
    state = join_processes()
    return state.process_index, state.num_processes


def join_processes() -> PartialState:
    """Joins the processes that a launcher such as torchrun has started together.

    Returns:
        The state of the processes; of one process, where no launcher has started it.

    Raises:
        TrainingError: the others cannot be reached.

    Example:
        >>> join_processes().num_processes
        1
    """
    try:
        return PartialState(cpu=not torch.accelerator.is_available(), **_own_store())
    except RuntimeError as problem:
        reason = str(problem).partition("\n")[0][:200].rstrip(".")
        raise TrainingError(
            f"the other processes cannot be reached ({reason}): start all anew."
        ) from None


def _own_store() -> dict[str, Any]:
    """Where processes meet that torchrun has started anew.

    torch 2.13 keeps torchrun's store, in which the processes before them have left their addresses
    (elastic/rendezvous/dynamic_rendezvous.py): who reads those before they are overwritten waits
    for a process that has ended. `test_launcher` notices.
    """
    is_shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not (restarts() and is_shared) or dist.is_initialized():
        return {}
    store, rank, size = next(rendezvous("env://"))
    return {
        "store": PrefixStore(f"restart {restarts()}", store),
        "rank": rank,
        "world_size": size,
    }


def restarts() -> int:
    """How often `torchrun --max-restarts` has started this process anew, after another one ended.

    Returns:
        A number.

    Example:
        >>> restarts()
        0
    """
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
