"""Batches in pieces, where a whole one does not fit into memory."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from vitrail.methods.base import Batch


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
