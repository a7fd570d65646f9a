"""Streams of batches that methods learn from, a function of seed, epoch and position."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import torch
from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.data.captions import Captions
from vitrail.data.dataset import Dataset
from vitrail.data.loader import Loader, RawBatch, Shard, check_shard
from vitrail.data.order import order
from vitrail.data.transforms import MultiCrop, TrainTransform
from vitrail.errors import ConfigError
from vitrail.methods.base import Batch
from vitrail.methods.batch_checks import Target, check_label_values
from vitrail.preprocess import Preprocess
from vitrail.train.seeds import mix_seed
from vitrail.values import PositiveInt

BatchTransform = Callable[[RawBatch, int], Batch]  # with a seed


class Stream(ABC):
    """Base class of what a trainer draws its batches from.

    Attributes:
        batch_size: samples per batch, of all processes together.

    Example:
        >>> stream = FeatureStream(torch.zeros(10, 4), torch.zeros(10), batch_size=4)
        >>> len(stream), len(next(stream.epoch(0, 0, "cpu")))
        (2, 4)
    """

    batch_size: int

    @abstractmethod
    def __len__(self) -> int:
        """The number of batches per epoch."""

    @property
    def deals(self) -> bool:
        """Whether each of several processes has whole batches of its own."""
        return False

    def numbers(self) -> range:
        """The numbers of the batches of an epoch that this process has."""
        return range(len(self))

    @abstractmethod
    def epoch(self, epoch: int, start: int, device: torch.device | str) -> Iterator[Batch]:
        """The batches of an epoch.

        Args:
            epoch: number of the epoch.
            start: number of batches to skip.
            device: device of the tensors.

        Yields:
            Batches from number `start` on, the same as if none had been skipped.
        """


class ImageStream(Stream):
    """Batches of samples that a loader reads and a function transforms.

    Args:
        loader: reads the samples.
        transform: makes a batch of what was read, with a seed for its draws.
        seed: seed of the run.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> loader = Loader(open_dataset("digits", limit=20), 8, lambda image: image)
        >>> preprocess = Preprocess((8, 8), None, mean=(0.3,), std=(0.4,))
        >>> stream = ImageStream(loader, evaluation_transform(preprocess))
        >>> [len(batch) for batch in stream.epoch(0, 0, "cpu")]
        [8, 8, 4]
    """

    @checked
    def __init__(self, loader: Loader, transform: BatchTransform, seed: int = 0) -> None:
        self.loader, self.transform, self.seed = loader, transform, seed
        self.batch_size = loader.batch_size

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def deals(self) -> bool:
        """Whether each of several processes has whole batches of its own."""
        return self.loader.deals

    def numbers(self) -> range:
        """The numbers of the batches of an epoch that this process has."""
        return self.loader.numbers()

    def epoch(self, epoch: int, start: int, device: torch.device | str) -> Iterator[Batch]:
        """epoch, start, device → batches from number `start` on."""
        rank = 0 if self.loader.deals else self.loader.shard[0]
        batches = self.loader.epoch(epoch, start)
        for position, batch in zip(self.loader.numbers(start), batches, strict=False):
            seed = mix_seed(self.seed, epoch, position, rank)
            yield self.transform(batch.to(device), seed).to(device)


class FeatureStream(Stream):
    """Batches of features that were computed in advance.

    Args:
        features: (N, D).
        labels: (N,).
        batch_size: samples per batch, at most N.
        seed: seed of the order; None for one epoch in the order of the samples.
        shard: (rank, processes) for data-parallel training.
        indices: (N,), positions in the dataset; None for 0 to N − 1.
        balanced: whether each class comes equally often in an epoch, with a seed only.
        weights: (N,), how much each sample counts; None for all alike.

    Raises:
        ConfigError: labels, indices or weights are not as many as features, or labels that are
            no classes shall be balanced.
        DataError: a label or a weight is none that a batch may hold.

    Example:
        >>> stream = FeatureStream(torch.zeros(10, 4), torch.zeros(10), batch_size=4, seed=0)
        >>> next(stream.epoch(0, 0, "cpu")).names()
        ('labels', 'features', 'indices')
    """

    @checked
    def __init__(
        self,
        features: Annotated[Tensor, Axes(2)],
        labels: Annotated[Tensor, Axes(1, 2)],
        batch_size: PositiveInt,
        seed: int | None = 0,
        shard: Shard = (0, 1),
        indices: Annotated[Tensor, Axes(1)] | None = None,
        balanced: bool = False,
        weights: Annotated[Tensor, Axes(1)] | None = None,
    ) -> None:
        check_shard(shard)
        for name, tensor in (("labels", labels), ("indices", indices), ("weights", weights)):
            if tensor is not None and len(tensor) != len(features):
                raise ConfigError(
                    f"{name} of shape {tuple(tensor.shape)} do not fit {len(features)} features: "
                    "give one for each."
                )
        if balanced and labels.ndim != 1:
            raise ConfigError(
                f"balanced=True is for one class per sample, and labels have shape "
                f"{tuple(labels.shape)}: leave it out."
            )
        target: Target = "class" if labels.ndim == 1 else "numbers"
        check_label_values(labels, weights, target)
        self.weights = weights
        self.features, self.labels, self.seed, self.shard = features, labels, seed, shard
        self.batch_size = min(batch_size, len(features))
        self.indices = torch.arange(len(features)) if indices is None else indices
        self.classes = labels if balanced else None

    def __len__(self) -> int:
        whole, rest = divmod(len(self.features), self.batch_size)
        return whole + bool(rest and self.seed is None)

    def epoch(self, epoch: int, start: int, device: torch.device | str) -> Iterator[Batch]:
        """epoch, start, device → batches from number `start` on."""
        rank, processes = self.shard
        positions = order(len(self.features), self.seed, epoch, classes=self.classes)
        for batch in positions.split(self.batch_size)[start : len(self)]:
            yield self._batch(batch[rank::processes]).to(device)

    def all(self) -> Batch:
        """All samples as one batch."""
        return self._batch(torch.arange(len(self.features)))

    def _batch(self, positions: Tensor) -> Batch:
        return Batch(
            features=self.features[positions],
            labels=self.labels[positions],
            indices=self.indices[positions],
            weights=None if self.weights is None else self.weights[positions],
        )


def training_transform(
    inputs: Sequence[str],
    images: TrainTransform,
    crops: MultiCrop | None = None,
    captions: Captions | None = None,
    dataset: Dataset | None = None,
) -> BatchTransform:
    """A function that augments raw batches into what a method reads.

    Args:
        inputs: fields of the batch that the method reads.
        images: augments images, for "images".
        crops: cuts crops, for "crops".
        captions: finds captions, for "captions".
        dataset: has several labels, numbers or weights of the samples; None for none of these.

    Returns:
        A function of a raw batch and a seed. Labels and indices are always in the batch.

    Raises:
        DataError: a label or a weight of the dataset is none that a batch may hold.

    Example:
        >>> from vitrail.data.transforms import AugmentConfig
        >>> images = TrainTransform(AugmentConfig(), Preprocess((8, 8), resize=None), 2)
        >>> raw = RawBatch(torch.zeros(2, 3, 9, 9, dtype=torch.uint8), torch.tensor([0, 1]),
        ...                torch.full((2, 2), 9), torch.arange(2))
        >>> training_transform(("images",), images)(raw, 0)["images"].shape
        torch.Size([2, 3, 8, 8])
    """

    def transform(raw: RawBatch, seed: int) -> Batch:
        x, labels = None, _truth(raw, dataset)
        if "images" in inputs:
            x, labels = images(raw.images, labels, raw.sizes, seed)
        return Batch(
            images=x,
            crops=() if crops is None else crops(raw.images, raw.sizes, seed),
            labels=labels,
            captions=None if captions is None else captions(raw.labels, raw.indices, seed),
            indices=raw.indices,
            weights=None if weights is None else weights[raw.indices.cpu()].to(raw.indices.device),
        )

    weights = None if dataset is None else dataset.weights
    if dataset is not None:
        check_label_values(dataset.values, weights, dataset.target)
    return transform


def _truth(raw: RawBatch, dataset: Dataset | None) -> Tensor:
    """Class indices (B,), or values (B, K)."""
    if dataset is None or dataset.values is None:
        return raw.labels
    return dataset.values[raw.indices.cpu()].to(raw.indices.device)


def evaluation_transform(
    preprocess: Preprocess, captions: Captions | None = None, dataset: Dataset | None = None
) -> BatchTransform:
    """A function that normalizes raw batches, without augmentation.

    Args:
        preprocess: statistics of the model's input.
        captions: finds captions; None for none.
        dataset: has several labels or numbers of the samples; None for neither.

    Returns:
        A function of a raw batch and a seed, which only the choice of captions depends on.

    Example:
        >>> raw = RawBatch(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]),
        ...                torch.full((2, 2), 8), torch.arange(2))
        >>> evaluation_transform(Preprocess((8, 8), resize=None))(raw, 0).names()
        ('images', 'labels', 'indices')
    """

    def transform(raw: RawBatch, seed: int) -> Batch:
        return Batch(
            images=preprocess.normalise(raw.images),
            labels=_truth(raw, dataset),
            captions=None if captions is None else captions(raw.labels, raw.indices, seed),
            indices=raw.indices,
        )

    return transform
