"""Datasets of samples in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrail.data.dataset import Dataset, Statistics
from vitrail.preprocess import unit


class InMemoryDataset(Dataset):
    """Samples of one size that fit in memory.

    Args:
        images: uint8 (N, C, *size).
        targets: (N,), class indices.
        labels: class names.
        statistics: mean and standard deviation per channel, on 0..1; None measures them.
        name: name of the dataset for messages.

    Example:
        >>> clips = InMemoryDataset(torch.zeros(4, 3, 2, 8, 8, dtype=torch.uint8),
        ...                         torch.arange(4) % 2, ["walk", "run"])
        >>> clips.subset([1, 3]).targets(), clips.read(0).shape
        ([1, 1], torch.Size([3, 2, 8, 8]))
    """

    fixed_size = True

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        labels: list[str],
        statistics: Statistics | None = None,
        name: str = "memory",
    ) -> None:
        self.images, self._targets, self.labels, self._name = images, targets.long(), labels, name
        self.statistics = _measure(images) if statistics is None else statistics

    def __len__(self) -> int:
        return len(self.images)

    def targets(self) -> list[int]:
        """The target of every sample."""
        return self._targets.tolist()

    def name(self, index: int) -> str:
        """index of a sample → a name such as "fashion-mnist/test[17]"."""
        return f"{self._name}[{index}]"

    def read(self, index: int) -> Tensor:
        """index of a sample → uint8 (C, *size)."""
        return self.images[index]

    def read_batch(self, indices: Tensor) -> Tensor:
        """indices (B,) → uint8 (B, C, *size), by one indexing operation."""
        return self.images[indices]

    def subset(self, indices: Sequence[int]) -> Dataset:
        """indices of samples → a dataset of these."""
        index = torch.as_tensor(indices, dtype=torch.long)
        part = InMemoryDataset(
            self.images[index], self._targets[index], self.labels, self.statistics, self._name
        )
        return self._with_rest(part, indices)


def _measure(images: Tensor) -> Statistics:
    """Mean and standard deviation per channel of at most 10,000 samples."""
    pixels = unit(images[:10_000]).transpose(0, 1).flatten(1).double()
    std = pixels.std(1, correction=0).clamp(min=1e-3)
    return tuple(pixels.mean(1).tolist()), tuple(std.tolist())
