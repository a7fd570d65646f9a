"""Datasets of samples in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.data.dataset import Dataset, Statistics
from vitrail.errors import DataError
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

    @checked
    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        labels: Sequence[str],
        statistics: Statistics | None = None,
        name: str = "memory",
    ) -> None:
        _check(images, targets, labels, statistics)
        self.images, self._targets, self._name = images, targets.long(), name
        self.labels = list(labels)
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


def _check(
    images: Tensor, targets: Tensor, labels: Sequence[str], statistics: Statistics | None
) -> None:
    """Raises `DataError` where these are no samples with a target each."""
    if images.ndim < 3 or images.is_meta or images.is_complex() or images.dtype == torch.bool:
        raise DataError(
            f"images are {images.dtype} of shape {tuple(images.shape)}: give uint8 of shape (N, "
            "channels, height, width)."
        )
    if targets.shape != images.shape[:1] or targets.is_meta or targets.is_complex():
        raise DataError(
            f"targets of shape {tuple(targets.shape)} do not fit {len(images)} images: give one "
            "class index for each."
        )
    if labels and len(targets) and not 0 <= targets.min() <= targets.max() < len(labels):
        raise DataError(
            f"targets are {targets.min():g} to {targets.max():g}, and labels are of 0 "
            f"to {len(labels) - 1}."
        )
    channels = images.shape[1]
    if statistics is not None and any(len(numbers) != channels for numbers in statistics):
        raise DataError(
            f"statistics are of {len(statistics[0])} and {len(statistics[1])} channels, and images "
            f"have {channels}: give a mean and a standard deviation for each."
        )


def _measure(images: Tensor) -> Statistics:
    """Mean and standard deviation per channel of at most 10,000 samples."""
    pixels = unit(images[:10_000]).transpose(0, 1).flatten(1).double()
    std = pixels.std(1, correction=0).clamp(min=1e-3)
    return tuple(pixels.mean(1).tolist()), tuple(std.tolist())
