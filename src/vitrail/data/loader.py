"""Batches in an order that depends on seed, epoch and position only."""

import functools
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils import data

from vitrail.arguments import checked
from vitrail.data.dataset import Dataset, epoch_seed
from vitrail.data.image_file import ImageFile
from vitrail.data.images import to_tensor
from vitrail.data.order import order
from vitrail.data.worker_signals import end_with, holding_signals, outlive_signals
from vitrail.errors import ConfigError, DataError, check_range
from vitrail.resizing import resize
from vitrail.values import NonNegativeInt, PositiveInt

Fit = Callable[[Tensor], Tensor]  # uint8 (C, *any) → uint8 (C, *size), the same for every sample
Augment = Callable[[Tensor | ImageFile, int], Tensor]  # with a seed, in place of a `Fit`
Item = tuple[Tensor, int, Tensor, int]
Shard = tuple[NonNegativeInt, PositiveInt]  # rank, number of processes
Key = tuple[int, int, int]  # index of a sample, epoch, position in the epoch
MOST_WORKERS = 8
WORKERS_LIMIT = 256  # each is a process of some hundred megabytes
RETRY_SECONDS = 0.2  # before a sample is read again: a network drive may fail once
MOST_REPLACED = 10  # samples in a row that cannot be read
TIMEOUT = 600  # seconds, after which a worker is taken to hang
FEW_SAMPLES = 1000  # that need no processes to read them


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
        uint8 (C, H, W) → uint8 (channels, size, size), and (C, T, H, W) alike. Volumes of floats
        have the model's size already and stay as they are.

    Example:
        >>> canvas(4)(torch.zeros(3, 9, 6, dtype=torch.uint8)).shape
        torch.Size([3, 4, 4])
    """
    return functools.partial(_squeeze, size=size, channels=channels)


def _squeeze(image: Tensor, size: int, channels: int) -> Tensor:
    if image.ndim == 3:
        return resize(to_tensor(image, channels), (size, size), "bilinear")
    if image.dtype != torch.uint8:
        return image
    frames, height = image.shape[1:3]
    clip = to_tensor(image.flatten(1, 2), channels).unflatten(1, (frames, height))
    return resize(clip.flatten(0, 1), (size, size), "bilinear").unflatten(0, (channels, frames))


def default_workers(dataset: Dataset, processes: int = 1) -> int:
    """The number of processes that read samples where none is set.

    Args:
        dataset: what is read.
        processes: number of processes that train, on this machine.

    Returns:
        None for few samples or for those in memory. Otherwise half of the processor's cores, or all
        but one where a GPU computes, for each process that trains; at most 8.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> default_workers(open_dataset("digits"))
        0
    """
    if dataset.fixed_size or dataset.streamed or len(dataset) < FEW_SAMPLES:
        return 0
    can_tell = hasattr(os, "sched_getaffinity")  # not on Windows and macOS
    cores = len(os.sched_getaffinity(0)) if can_tell else os.cpu_count() or 1
    readers = cores - 1 if torch.accelerator.is_available() else cores // 2
    return min(max(readers // processes, 1), MOST_WORKERS)


class _Items(data.Dataset[Item | DataError]):
    """Samples of the size of a batch. Errors are values: a worker would make tracebacks of them."""

    def __init__(self, loader: "Loader") -> None:
        self.dataset, self.fit, self.augment = loader.dataset, loader.fit, loader.augment
        self.seed, self.targets = loader.seed, loader.dataset.targets()
        self.epoch, self.part = -1, loader.dataset
        self.skips = MOST_REPLACED if loader.bad_images == "skip" else 0

    def __getitem__(self, key: Key) -> Item | DataError:
        item = self._item(key)
        return self._again(key) if isinstance(item, DataError) else item

    def _item(self, key: Key) -> Item | DataError:
        index, epoch, position = key
        try:
            if self.seed is not None and epoch != self.epoch:
                self.epoch, self.part = epoch, self.dataset.with_seed(epoch_seed(self.seed, epoch))
            if self.augment is None:
                whole = self.part.read(index)
                image, size = self.fit(whole), list(whole.shape[1:])
            else:
                sample = self.part.open(index)
                draws = (epoch_seed(self.seed or 0, epoch) << 32) + position
                image, size = self.augment(sample, draws), list(sample.shape[1:])
        except DataError as problem:
            return problem
        return image, self.targets[index], torch.tensor(size), index

    def _again(self, key: Key) -> Item | DataError:
        """A sample that could not be read: once more, then others in its place if that is meant."""
        time.sleep(RETRY_SECONDS)
        item = self._item(key)
        index, epoch, position = key
        for number in range(1, 1 + self.skips):
            if not isinstance(item, DataError):
                return item
            other = (index + number) % len(self.targets)
            sys.stderr.write(f"{item} Using {self.dataset.name(other)} in its place.\n")
            item = self._item((other, epoch, position))
        return item


def check_shard(shard: Shard) -> None:
    """Checks that a process is one of several.

    Args:
        shard: (rank, processes).

    Raises:
        ConfigError: the rank is not below the number of processes.

    Example:
        >>> check_shard((0, 1))
    """
    if shard[0] >= shard[1]:
        raise ConfigError(f"{shard=}: of {shard[1]} processes, the ranks are 0 to {shard[1] - 1}.")


class Loader:
    """Batches of a dataset.

    Any number of workers gives the same batches, and an epoch that is entered at `start` gives the
    same batches as one that was never left. With a seed, samples of videos, volumes and signals are
    random parts, other ones in each epoch.

    Args:
        dataset: samples to load.
        batch_size: samples per batch; at most all of them.
        fit: brings a sample to the size that all samples of a batch have.
        augment: does so at random, with a seed that follows from `seed`, epoch and position; takes
            the place of `fit`. None for none.
        seed: seed of the order; None for the dataset's own order.
        workers: number of processes that read samples, which stay for all epochs; 0 reads them in
            this one, None for `default_workers`.
        drop_last: whether to leave out an incomplete last batch.
        repeats: how often each sample comes in a row.
        shard: (rank, processes) for data-parallel training: each process gets its part of every
            batch.
        balanced: whether each class comes equally often in an epoch, with a seed only.
        bad_images: what follows a sample that cannot be read when it is tried again either: "raise"
            for an error, "skip" for the next sample in its place and a line on stderr.
        deals: whether the processes of `shard` take whole batches in turn, for evaluation.

    Raises:
        ConfigError: there are more workers than a machine can hold, or a batch has fewer samples
            than there are processes, each of which needs one.
        DataError: there are no samples.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> loader = Loader(open_dataset("digits", limit=20), 8, lambda image: image, seed=0)
        >>> [len(batch.labels) for batch in loader.epoch()]
        [8, 8, 4]
    """

    @checked
    def __init__(
        self,
        dataset: Dataset,
        batch_size: PositiveInt,
        fit: Fit,
        *,
        augment: Augment | None = None,
        seed: int | None = None,
        workers: int | None = 0,
        drop_last: bool = False,
        repeats: PositiveInt = 1,
        shard: Shard = (0, 1),
        balanced: bool = False,
        bad_images: Literal["raise", "skip"] = "raise",
        deals: bool = False,
    ) -> None:
        check_shard(shard)
        if not len(dataset):
            raise DataError(f"this {type(dataset).__name__} is empty: give samples to load.")
        self.bad_images, self.deals = bad_images, deals
        self.dataset, self.batch_size, self.fit = dataset, min(batch_size, len(dataset)), fit
        self.augment, self.seed, self.drop_last = augment, seed, drop_last
        self.repeats, self.shard = repeats, shard
        self.workers = default_workers(dataset, shard[1]) if workers is None else workers
        check_range("workers", self.workers, 0, WORKERS_LIMIT)
        rest = 0 if drop_last else len(dataset) % self.batch_size
        if not deals and shard[1] > (rest or self.batch_size):
            raise ConfigError(
                f"{shard=}: a batch of {rest or self.batch_size} leaves some of {shard[1]} "
                "processes without samples: "
                + ("set drop_last=True, " if rest and self.batch_size >= shard[1] else "")
                + "take fewer processes, or set deals=True."
            )
        self.classes = torch.tensor(dataset.targets()) if balanced else None
        self._batches: list[list[Key]] = []

    def __len__(self) -> int:
        """The number of batches per epoch, of all processes."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def numbers(self, start: int = 0) -> range:
        """The numbers of the batches of which this process has all or a part.

        Args:
            start: number of batches to skip.

        Returns:
            Numbers in the order of the batches.
        """
        rank, processes = self.shard if self.deals else (0, 1)
        return range(start + (rank - start) % processes, len(self), processes)

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
        indices = order(len(self.dataset), self.seed, epoch, self.repeats, self.classes)
        rank, processes = (0, 1) if self.deals else self.shard
        numbers, parts = self.numbers(start), indices.split(self.batch_size)
        batches = [parts[number][rank::processes] for number in numbers]
        if self.dataset.fixed_size and self.augment is None and self._fits():
            yield from self._gather(batches)
            return
        self._batches.clear()
        for number, batch in zip(numbers, batches, strict=True):
            first = number * self.batch_size + rank
            self._batches.append(
                [(i, epoch, first + j * processes) for j, i in enumerate(batch.tolist())]
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # the user's choice
            with holding_signals():
                batches_read = iter(self._reader)
            if self.workers:
                end_with(batches_read)
            for batch in batches_read:
                if isinstance(batch, DataError):
                    raise batch
                yield batch

    @functools.cached_property
    def _reader(self) -> "data.DataLoader[Any]":
        """Reads the batches of `_batches`; its processes stay between epochs."""
        return data.DataLoader(
            _Items(self),
            batch_sampler=self._batches,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            timeout=TIMEOUT if self.workers else 0,
            collate_fn=_collate,
            worker_init_fn=outlive_signals,
            generator=torch.Generator(),  # its own, so that loading draws nothing from the model's
        )

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
        rank, processes = (0, 1) if self.deals else self.shard
        number, own = start, self.numbers(start)
        items: list[Item | DataError] = []
        for image, label, position in self.dataset.samples(
            self.seed, epoch, start * self.batch_size
        ):
            if self.augment is None:
                fitted = self.fit(image)
            else:
                fitted = self.augment(image, (epoch_seed(self.seed or 0, epoch) << 32) + position)
            items.append((fitted, label, torch.tensor(image.shape[1:]), position))
            if len(items) == self.batch_size:
                if number in own:
                    yield _collate(items[rank::processes])
                items, number = [], number + 1
        if items and not self.drop_last and number in own:
            yield _collate(items[rank::processes])


def _collate(items: "list[Item | DataError]") -> Any:  # a RawBatch, or the first error
    for item in items:
        if isinstance(item, DataError):
            return item
    images, labels, sizes, indices = zip(*items, strict=True)
    return RawBatch(
        torch.stack(images), torch.tensor(labels), torch.stack(sizes), torch.tensor(indices)
    )
