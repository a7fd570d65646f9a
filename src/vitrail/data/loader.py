"""Batches in an order that depends on seed, epoch and position only."""

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils import data

from vitrail.data.dataset import Dataset, epoch_seed
from vitrail.data.images import to_tensor
from vitrail.preprocess import resize

Fit = Callable[[Tensor], Tensor]  # uint8 (C, *any) → uint8 (C, *size), the same for every sample
Item = tuple[Tensor, int, Tensor, int]


class RawBatch(NamedTuple):
    """Samples as they are stored, before augmentation and normalization.

    Args:
        images: uint8 (B, C, *size).
        labels: (B,), class indices.
        sizes: (B, axes), the sizes before samples were brought to one size.
        indices: (B,), positions in the dataset.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> batch = next(Loader(open_dataset("digits", limit=20), 4, lambda image: image).epoch())
        >>> batch.images.shape, batch.sizes[0].tolist()
        (torch.Size([4, 1, 8, 8]), [8, 8])
    """

    images: Tensor
    labels: Tensor
    sizes: Tensor
    indices: Tensor

    def to(self, device: torch.device | str) -> "RawBatch":
        """The batch on a device.

        Args:
            device: where to.

        Returns:
            A batch of the same values.
        """
        return RawBatch(*(part.to(device) for part in self))


def canvas(size: int, channels: int = 3) -> Fit:
    """A function that squeezes a whole image, or each frame of a clip, onto a square.

    Nothing is cut off: a random crop is later cut in the original's proportions, so the squeeze
    only costs resolution.

    Args:
        size: pixels of the square's side.
        channels: channels of the result.

    Returns:
        uint8 (C, H, W) → uint8 (channels, size, size), and (C, T, H, W) alike.

    Example:
        >>> canvas(4)(torch.zeros(3, 9, 6, dtype=torch.uint8)).shape
        torch.Size([3, 4, 4])
    """
    return functools.partial(_squeeze, size=size, channels=channels)


def _squeeze(image: Tensor, size: int, channels: int) -> Tensor:
    if image.ndim == 3:
        return resize(to_tensor(image, channels), (size, size), "bilinear")
    frames, height = image.shape[1:3]
    clip = to_tensor(image.flatten(1, 2), channels).unflatten(1, (frames, height))
    return resize(clip.flatten(0, 1), (size, size), "bilinear").unflatten(0, (channels, frames))


def order(length: int, seed: int | None, epoch: int, repeats: int = 1) -> Tensor:
    """The order of an epoch.

    Args:
        length: number of samples, of which the epoch has as many.
        seed: seed of the shuffle; None for no shuffle.
        epoch: number of the epoch.
        repeats: how often each sample comes in a row (repeated augmentation, Hoffer et al. 2020,
            https://arxiv.org/abs/1901.09335).

    Returns:
        Indices (length,).

    Example:
        >>> order(4, None, 0).tolist()
        [0, 1, 2, 3]
    """
    if seed is None:
        return torch.arange(length)
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    return torch.randperm(length, generator=generator).repeat_interleave(repeats)[:length]


class _Items(data.Dataset[Item]):
    def __init__(self, dataset: Dataset, fit: Fit) -> None:
        self.dataset, self.fit, self.targets = dataset, fit, dataset.targets()

    def __getitem__(self, index: int) -> Item:
        image = self.dataset.read(index)
        return self.fit(image), self.targets[index], torch.tensor(image.shape[1:]), index


class Loader:
    """Batches of a dataset.

    Any number of workers gives the same batches, and an epoch that is entered at `start` gives the
    same batches as one that was never left. With a seed, samples of videos, volumes and signals are
    random parts, other ones in each epoch.

    Args:
        dataset: samples to load.
        batch_size: samples per batch; at most all of them.
        fit: brings a sample to the size that all samples of a batch have.
        seed: seed of the order; None for the dataset's own order.
        workers: number of processes that read samples; 0 reads them in this one.
        drop_last: whether to leave out an incomplete last batch.
        repeats: how often each sample comes in a row.
        shard: (rank, processes) for data-parallel training: each process gets its part of every
            batch.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> loader = Loader(open_dataset("digits", limit=20), 8, lambda image: image, seed=0)
        >>> [len(batch.labels) for batch in loader.epoch()]
        [8, 8, 4]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        fit: Fit,
        *,
        seed: int | None = None,
        workers: int = 0,
        drop_last: bool = False,
        repeats: int = 1,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self.dataset, self.batch_size, self.fit = dataset, min(batch_size, len(dataset)), fit
        self.seed, self.workers, self.drop_last = seed, workers, drop_last
        self.repeats, self.shard = repeats, shard

    def __len__(self) -> int:
        """The number of batches per epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[RawBatch]:
        """The batches of an epoch.

        Args:
            epoch: number of the epoch.
            start: number of batches to skip.

        Yields:
            Batches from number `start` on.
        """
        if self.dataset.streamed:
            yield from self._stream(epoch, start)
            return
        indices = order(len(self.dataset), self.seed, epoch, self.repeats)
        rank, processes = self.shard
        batches = [b[rank::processes] for b in indices.split(self.batch_size)][start : len(self)]
        if self.dataset.fixed_size and self._fits():
            yield from self._gather(batches)
            return
        dataset = self.dataset
        if self.seed is not None:
            dataset = dataset.with_seed(epoch_seed(self.seed, epoch))
        loader = data.DataLoader(
            _Items(dataset, self.fit),
            batch_sampler=[b.tolist() for b in batches],
            num_workers=self.workers,
            collate_fn=_collate,
            generator=torch.Generator(),  # its own, so that loading draws nothing from the model's
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # the user's choice
            yield from loader

    def _fits(self) -> bool:
        """Whether samples have their final size already, so that a batch is one indexing."""
        sample = self.dataset.read(0)
        return torch.equal(self.fit(sample), sample)

    def _gather(self, batches: list[Tensor]) -> Iterator[RawBatch]:
        targets = torch.tensor(self.dataset.targets())
        for indices in batches:
            images = self.dataset.read_batch(indices)
            sizes = torch.tensor(images.shape[2:]).expand(len(indices), -1)
            yield RawBatch(images, targets[indices], sizes, indices)

    def _stream(self, epoch: int, start: int) -> Iterator[RawBatch]:
        rank, processes = self.shard
        items: list[Item] = []
        for image, label, position in self.dataset.samples(
            self.seed, epoch, start * self.batch_size
        ):
            items.append((self.fit(image), label, torch.tensor(image.shape[1:]), position))
            if len(items) == self.batch_size:
                yield _collate(items[rank::processes])
                items = []
        if items and not self.drop_last:
            yield _collate(items[rank::processes])


def _collate(items: list[Item]) -> RawBatch:
    images, labels, sizes, indices = zip(*items, strict=True)
    return RawBatch(
        torch.stack(images), torch.tensor(labels), torch.stack(sizes), torch.tensor(indices)
    )
