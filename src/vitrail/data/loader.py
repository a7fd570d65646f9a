"""Batches in an order that is a function of (seed, epoch, position), and of nothing else."""

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vitrail.data.images import to_tensor
from vitrail.preprocess import resize
from vitrail.data.dataset import ImageDataset, StreamedDataset, InMemoryDataset

Fit = Callable[[Tensor], Tensor]  # uint8 (C, H, W) → uint8 (C, *size), the same for every image


class Batch(NamedTuple):
    """Images before normalisation."""

    images: Tensor  # uint8 (B, C, H, W)
    labels: Tensor  # (B,)
    sizes: Tensor  # (B, 2): height and width of the original images
    indices: Tensor  # (B,): which image of the source


def canvas(size: int, channels: int = 3) -> Fit:
    """Squeezes a whole image onto a square of `size` pixels.

    Nothing is cut off: a random crop is later chosen in the original's proportions, so the
    squeeze costs resolution only.
    """

    return functools.partial(_squeeze, size=size, channels=channels)


def _squeeze(image: Tensor, size: int, channels: int) -> Tensor:
    return resize(to_tensor(image, channels), (size, size), "bilinear")


def order(length: int, seed: int | None, epoch: int, repeats: int = 1) -> Tensor:
    """Indices of one epoch; None keeps the source's order.

    With `repeats`, each image comes so many times in a row and the epoch is as long as before
    (repeated augmentation, Hoffer et al. 2020, https://arxiv.org/abs/1901.09335).
    """
    if seed is None:
        return torch.arange(length)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(length, generator=generator).repeat_interleave(repeats)[:length]


class _Items(Dataset[tuple[Tensor, int, Tensor, int]]):
    def __init__(self, source: ImageDataset, fit: Fit) -> None:
        self.source, self.fit, self.targets = source, fit, source.targets()

    def __getitem__(self, index: int) -> tuple[Tensor, int, Tensor, int]:
        image = self.source.read(index)
        return self.fit(image), self.targets[index], torch.tensor(image.shape[1:]), index


class Loader:
    """Batches of a source.

    Any number of workers gives the same batches, and an epoch entered at `start` gives the same
    batches as one that was never left. `seed` None keeps the source's order. `shard` is (rank,
    processes) for data-parallel training: each process takes its part of every batch.
    """

    def __init__(
        self,
        source: ImageDataset,
        batch_size: int,
        fit: Fit,
        *,
        seed: int | None = None,
        workers: int = 0,
        drop_last: bool = False,
        repeats: int = 1,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self.source, self.batch_size, self.fit = source, min(batch_size, len(source)), fit
        self.seed, self.workers, self.drop_last = seed, workers, drop_last
        self.repeats, self.shard = repeats, shard

    def __len__(self) -> int:
        """Batches an epoch."""
        whole, rest = divmod(len(self.source), self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches from number `start` on."""
        if isinstance(self.source, StreamedDataset):
            yield from self._stream(self.source, epoch, start)
            return
        indices = order(len(self.source), self.seed, epoch, self.repeats)
        rank, processes = self.shard
        batches = [b[rank::processes] for b in indices.split(self.batch_size)][start : len(self)]
        if isinstance(self.source, InMemoryDataset) and self._fits(self.source):
            for chosen in batches:
                yield self._gather(self.source, chosen)
            return
        loader = DataLoader(
            _Items(self.source, self.fit),
            batch_sampler=[b.tolist() for b in batches],
            num_workers=self.workers,
            collate_fn=_collate,
            generator=torch.Generator(),  # its own, so that loading draws nothing from the model's
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # the user's choice
            yield from loader

    def _fits(self, source: InMemoryDataset) -> bool:
        """Whether images already have the size wanted: then a batch is one indexing."""
        return torch.equal(self.fit(source.images[0]), source.images[0])

    def _gather(self, source: InMemoryDataset, chosen: Tensor) -> Batch:
        sizes = torch.tensor(source.images.shape[2:]).expand(len(chosen), 2)
        return Batch(source.images[chosen], source._targets[chosen], sizes, chosen)

    def _stream(self, source: StreamedDataset, epoch: int, start: int) -> Iterator[Batch]:
        rank, processes = self.shard
        items = []
        for image, label, position in source.stream(self.seed, epoch, start * self.batch_size):
            items.append((self.fit(image), label, torch.tensor(image.shape[1:]), position))
            if len(items) == self.batch_size:
                yield _collate(items[rank::processes])
                items = []
        if items and not self.drop_last:
            yield _collate(items[rank::processes])


def _collate(items: list[tuple[Tensor, int, Tensor, int]]) -> Batch:
    images, labels, sizes, indices = zip(*items, strict=True)
    return Batch(
        torch.stack(images), torch.tensor(labels), torch.stack(sizes), torch.tensor(indices)
    )
