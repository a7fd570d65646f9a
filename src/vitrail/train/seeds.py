"""Seeds of a run's random draws."""

import base64
import random
from typing import Any

import torch
from torch import Tensor


def mix_seed(*parts: int) -> int:
    """One seed from several numbers, such as run, epoch and position.

    The finalizer of splitmix64 makes the seeds of consecutive numbers independent.

    Args:
        *parts: whole numbers.

    Returns:
        A seed of 63 bits.

    Example:
        >>> mix_seed(0, 1) == mix_seed(0, 1), mix_seed(0, 1) == mix_seed(1, 0)
        (True, False)
    """
    mask = (1 << 64) - 1
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ part) * 0xBF58476D1CE4E5B9 & mask
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
        state ^= state >> 31
    return state >> 1


def seed_all(seed: int) -> None:
    """Seeds the generators of Python, NumPy and torch.

    Args:
        seed: seed of the run.

    Example:
        >>> seed_all(0)
        >>> first = random.random(), torch.rand(1)
        >>> seed_all(0)
        >>> first == (random.random(), torch.rand(1))
        True
    """
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def generator_states() -> dict[str, Any]:
    """The state of every generator: Python's, NumPy's, torch's on each device.

    Returns:
        Plain values for JSON.

    Example:
        >>> sorted(generator_states())
        ['cuda', 'numpy', 'python', 'torch']
    """
    import numpy as np

    kind, keys, *rest = np.random.get_state(legacy=True)
    version, numbers, gauss = random.getstate()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "torch": _to_text(torch.get_rng_state()),
        "cuda": [_to_text(s) for s in torch.cuda.get_rng_state_all()],
    }


def set_generators(states: dict[str, Any]) -> None:
    """Restores what `generator_states` returned.

    Args:
        states: plain values.

    Example:
        >>> states = generator_states()
        >>> first = torch.rand(1)
        >>> set_generators(states)
        >>> torch.equal(first, torch.rand(1))
        True
    """
    import numpy as np

    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(_from_text(states["torch"]))
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([_from_text(s) for s in states["cuda"]])


def _to_text(state: Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _from_text(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
