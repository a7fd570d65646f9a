"""Seeds of a run's random draws."""

import random

import torch


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
