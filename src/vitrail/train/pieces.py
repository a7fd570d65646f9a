"""Batches in pieces, where a whole one does not fit into memory."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from vitrail.memory import free_memory, is_out_of_memory
from vitrail.methods import distributed
from vitrail.methods.base import Batch

Samples = TypeVar("Samples", Batch, Tensor)


def pieces(batches: Iterable[Batch], parts: int) -> Iterator[tuple[Batch, float]]:
    """Parts of batches, whose losses weighted by their shares add up to the batches' losses.

    Args:
        batches: the batches.
        parts: number of parts of each; of a smaller batch, one per sample.

    Yields:
        A part, and its share of the mean over its batch.

    Example:
        >>> import torch
        >>> batch = Batch(labels=torch.arange(3))
        >>> [(part["labels"].tolist(), round(share, 2)) for part, share in pieces([batch], 2)]
        [([0, 1], 0.67), ([2], 0.33)]
    """
    for batch in batches:
        size = -(-len(batch) // parts)
        for start in range(0, len(batch), size):
            part = slice_of(batch, slice(start, start + size))
            if batch.weights is None:
                yield part, len(part) / len(batch)
            else:
                yield part, float(part["weights"].sum() / batch.weights.sum())


def slice_of(batch: Batch, samples: slice) -> Batch:
    """Some samples of a batch.

    Args:
        batch: the batch.
        samples: which.

    Returns:
        A batch of views.

    Example:
        >>> import torch
        >>> slice_of(Batch(labels=torch.arange(3)), slice(1, 3))["labels"]
        tensor([1, 2])
    """

    def cut(value: Any) -> Any:
        return value[samples] if isinstance(value, Tensor) else tuple(map(cut, value))

    changes: dict[str, Any] = {name: cut(getattr(batch, name)) for name in batch.names()}
    return dataclasses.replace(batch, **changes)


def in_halves(compute: Callable[[Samples], Tensor], samples: Samples) -> Tensor:
    """What is computed of each sample, in halves where memory is too small for all at once.

    Of several processes none halves, for the others may wait for it in the forward.

    Args:
        compute: (B, ...) samples -> (B, ...), without gradients.
        samples: a batch, or a tensor of samples.

    Returns:
        The results of all samples.

    Example:
        >>> in_halves(torch.sqrt, torch.tensor([4.0, 9.0]))
        tensor([2., 3.])
    """
    try:
        return compute(samples)
    except (RuntimeError, MemoryError) as problem:
        if len(samples) < 2 or distributed.world_size() > 1 or not is_out_of_memory(problem):
            raise
    free_memory()  # after the error is gone, which holds what did not fit
    half = (len(samples) + 1) // 2
    parts = (slice(0, half), slice(half, None))
    halves = [slice_of(samples, p) if isinstance(samples, Batch) else samples[p] for p in parts]
    return torch.cat([in_halves(compute, part) for part in halves])
