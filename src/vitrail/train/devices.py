"""The device that a model runs on, by name, and the processes that share the work."""

import os

import torch
from accelerate import PartialState

from vitrail.errors import ConfigError


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
    state = PartialState(cpu=not torch.accelerator.is_available())
    return state.process_index, state.num_processes
