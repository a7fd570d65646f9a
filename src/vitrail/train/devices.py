"""The device that a model runs on, by name."""

import torch

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
        return torch.device(names[0])
    if str(name) not in names:
        raise ConfigError(
            f"device={str(name)!r} is none of this machine's, {', '.join(names)}: leave it out for "
            f"{names[0]}."
        )
    return torch.device(name)
