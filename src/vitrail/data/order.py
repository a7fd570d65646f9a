"""The order of the samples of an epoch."""

import torch
from torch import Tensor

from vitrail.data.dataset import epoch_seed


def order(
    length: int, seed: int | None, epoch: int, repeats: int = 1, classes: Tensor | None = None
) -> Tensor:
    """The order of an epoch.

    Args:
        length: number of samples, of which the epoch has as many.
        seed: seed of the shuffle; None for no shuffle.
        epoch: number of the epoch.
        repeats: how often each sample comes in a row (repeated augmentation, Hoffer et al. 2020,
            https://arxiv.org/abs/1901.09335).
        classes: class indices (length,), each of which comes equally often: samples of rare classes
            come several times, and of frequent classes only some come. None for each sample once.

    Returns:
        Indices (length,).

    Example:
        >>> order(4, None, 0).tolist()
        [0, 1, 2, 3]
    """
    if seed is None:
        return torch.arange(length)
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    indices = torch.randperm(length, generator=generator)
    if classes is not None:
        indices = _balanced(indices, classes, generator)
    return indices.repeat_interleave(min(repeats, length))[:length]


def _balanced(indices: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """A random order of all samples → one of as many, with the same number of each class."""
    groups = [indices[classes[indices] == index] for index in classes.unique()]
    shares = torch.full((len(groups),), len(indices) // len(groups))
    shares[torch.randperm(len(groups), generator=generator)[: len(indices) % len(groups)]] += 1
    parts = [
        group.repeat(-(-share // len(group)))[:share]
        for group, share in zip(groups, shares.tolist(), strict=True)
    ]
    return torch.cat(parts)[torch.randperm(len(indices), generator=generator)]
