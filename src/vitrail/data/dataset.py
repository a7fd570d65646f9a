"""Datasets: labelled images, clips, volumes or signals, read one by one or as a stream."""

import hashlib
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from vitrail.data.file_spans import Source
from vitrail.data.folders import Inventory
from vitrail.data.image_file import ImageFile
from vitrail.data.images import BadImage
from vitrail.errors import DataError
from vitrail.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, Sampling

Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std per channel, on 0..1


def neutral_statistics(channels: int) -> Statistics:
    """Statistics of images of any kind.

    Args:
        channels: number of channels.

    Returns:
        ImageNet's mean and standard deviation for three channels, 0.5 for others.

    Example:
        >>> neutral_statistics(1)
        ((0.5,), (0.5,))
    """
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    return (0.5,) * channels, (0.5,) * channels


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch's order.

    Args:
        seed: seed of the run.
        epoch: number of the epoch, from 0.

    Returns:
        A seed that differs between epochs.

    Example:
        >>> epoch_seed(2, 5)
        2000011
    """
    return (seed * 1_000_003 + epoch) % 2**63


class Verdict(NamedTuple):
    """What decoding a sample tells.

    Args:
        reason: why it cannot be read; "" if it can.
        remark: what is odd about it although it can be read; "" for nothing.

    Example:
        >>> any(Verdict())
        False
    """

    reason: str = ""
    remark: str = ""


class Dataset(ABC):
    """Base class of all datasets.

    A sample is a tensor (C, *size): an image (C, H, W), a clip or a volume (C, T, H, W), or a
    signal (C, L). Bytes are uint8, 0 black and 255 white. Where 8 bits are too few, as for most
    volumes and signals, values are float32 in units of their own, the same for all samples.
    Datasets whose samples come in an order of their own set `streamed`; they override `samples`.
    All others override `targets`, `read` and `subset`.

    Attributes:
        labels: class names; a target is an index into them. Empty for unlabelled samples.
        statistics: mean and standard deviation per channel, of bytes on 0..1, of other values in
            their units.
        sampling: how parts of videos, volumes and signals are sampled; None for other samples.
        bad_images: what was left out, because it could not be read.
        damage: what is damaged or missing of the files that hold several samples, such as shards.
        odd_images: what can be read, although something is odd about it.
        captions: the caption of every sample; empty where there are none.
        target: what a sample's label is: "class", one class; "labels", any number of `labels`;
            "numbers", numbers whose names are `labels`.
        values: of "labels" and "numbers", float (N, len(labels)); `targets` is 0 for all then.
        weights: (N,), how much each sample counts in training; None for all alike.
        inventory: what the folder or file holds that the samples come from, and what of it is not
            used; None where there is neither.
        recordings: "videos", "volumes" or "signals" where samples are such files; "" for others.
        streamed: whether samples can only be read in order, so that their labels are not known in
            advance.
        fixed_size: whether all samples have one size and are read fast, as small images in memory.
            They are not cropped.
        checked_first: whether samples are decoded before training, to find those that cannot be.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> digits = open_dataset("digits", limit=20)
        >>> len(digits), digits.read(0).shape
        (20, torch.Size([1, 8, 8]))
    """

    cure: ClassVar[str] = "vitrail.data.open_dataset returns one."  # for errors
    labels: list[str]
    statistics: Statistics = (IMAGENET_MEAN, IMAGENET_STD)
    sampling: Sampling | None = None
    bad_images: Sequence[BadImage] = ()
    damage: Sequence[BadImage] = ()
    odd_images: Sequence[BadImage] = ()
    captions: Sequence[str] = ()
    target: Literal["class", "labels", "numbers"] = "class"
    values: Tensor | None = None
    weights: Tensor | None = None
    inventory: Inventory | None = None
    recordings: str = ""
    streamed: bool = False
    fixed_size: bool = False
    checked_first: bool = True

    @property
    def channels(self) -> int:
        """The number of channels of a sample."""
        return len(self.statistics[0])

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """index of a sample → its name for messages, such as its path."""

    def key(self, index: int) -> str:
        """index of a sample → what splits depend on, wherever the dataset is stored."""
        return self.name(index)

    def targets(self) -> list[int]:
        """The target of every sample.

        Raises:
            DataError: the dataset is streamed.
        """
        raise self._no_random_access()

    def truth(self) -> Tensor:
        """What is learned of every sample.

        Returns:
            Class indices (N,); of other targets `values`, (N, len(labels)).

        Raises:
            DataError: the dataset is streamed.
        """
        return torch.tensor(self.targets()) if self.values is None else self.values

    def counts(self) -> dict[str, int]:
        """The number of samples of each class or label; none where there are neither.

        Raises:
            DataError: the dataset is streamed.
        """
        if self.target == "numbers" or not self.labels:
            return {}
        if self.values is None:
            numbers = self.truth().bincount(minlength=len(self.labels))
        else:
            numbers = self.values.sum(0).long()
        return dict(zip(self.labels, numbers.tolist(), strict=True))

    def digest(self) -> str:
        """A hash of the keys and labels of all samples, by which changed data are noticed.

        Returns:
            64 hexadecimal digits; they do not depend on where the dataset is stored.
        """
        content = hashlib.sha256()
        if self.streamed:
            content.update(f"{len(self)} {self.labels}".encode(errors="surrogateescape"))
            return content.hexdigest()
        names = [os.fsencode(label) for label in self.labels] or [b""]
        pairs = zip(map(self.key, range(len(self))), self.targets(), strict=True)
        lines = (os.fsencode(key) + b"\0" + names[target] + b"\0" for key, target in pairs)
        for block in iter(lambda: b"".join(itertools.islice(lines, 1000)), b""):
            content.update(block)
        for more in (self.values, self.weights):
            if more is not None:
                content.update(more.numpy().tobytes())
        return content.hexdigest()

    def read(self, index: int) -> Tensor:
        """Reads one sample.

        Args:
            index: its position in the dataset.

        Returns:
            (C, *size), uint8 or float32.

        Raises:
            DataError: the sample cannot be read, or the dataset is streamed.
        """
        raise self._no_random_access()

    def open(self, index: int) -> Tensor | ImageFile:
        """Opens one sample, for those who need only a part of its pixels.

        Args:
            index: its position in the dataset.

        Returns:
            A file whose header was read, where samples are image files; otherwise the sample.

        Raises:
            DataError: the sample cannot be read, or the dataset is streamed.
        """
        return self.read(index)

    def file(self, index: int) -> Source:
        """The file of a recording, or the folder of its frames or slices.

        Args:
            index: its position in the dataset.

        Returns:
            Where it is stored.

        Raises:
            DataError: samples are no files of recordings.
        """
        raise DataError(f"{self.name(index)}: is no file of a video, a volume or a signal.")

    def with_pixels(self, channels: int | None, white: float | None) -> "Dataset":
        """The dataset with image files that are read in another way.

        Args:
            channels: number of channels; None for those that they are read with.
            white: value of white in images of more than 8 bits; None for the largest value.

        Returns:
            A dataset of the same samples; this one where they are no image files.
        """
        del channels, white
        return self

    def for_input(self, preprocess: Preprocess) -> "Dataset":
        """The dataset as a model reads it.

        Args:
            preprocess: of the model.

        Returns:
            A dataset whose samples are parts of the model's length, where they are videos, volumes
            or signals; otherwise this one.
        """
        del preprocess
        return self

    def with_seed(self, seed: int) -> "Dataset":
        """The dataset as training reads it in one epoch.

        Args:
            seed: decides where parts of videos, volumes and signals begin.

        Returns:
            A dataset whose samples are random parts; this one where samples are read whole.
        """
        del seed
        return self

    def read_batch(self, indices: Tensor) -> Tensor:
        """Reads several samples of one size.

        Args:
            indices: (B,), positions in the dataset.

        Returns:
            uint8 (B, C, *size).
        """
        return torch.stack([self.read(index) for index in indices.tolist()])

    def subset(self, indices: Sequence[int]) -> "Dataset":
        """A dataset of some of the samples.

        Args:
            indices: positions in this dataset, in the order of the new one.

        Returns:
            A dataset of the same class.

        Raises:
            DataError: the dataset is streamed.
        """
        raise self._no_random_access()

    def samples(
        self, seed: int | None, epoch: int, start: int
    ) -> Iterator[tuple[Tensor, int, int]]:
        """Reads the samples of a streamed dataset in an order that seed and epoch decide.

        Args:
            seed: seed of the order; None for the dataset's own order.
            epoch: number of the epoch.
            start: number of samples to skip.

        Yields:
            (sample uint8 (C, *size), target, position in the epoch).

        Raises:
            DataError: the dataset is not streamed.
        """
        raise DataError(f"{type(self).__name__} is not streamed: read samples by their index.")

    def take(self, limit: int | None) -> "Dataset":
        """The first samples of a streamed dataset.

        Args:
            limit: how many; None for all.

        Returns:
            A dataset of the same class.

        Raises:
            DataError: the dataset is not streamed, or does not say how long it is.
        """
        raise DataError(f"{type(self).__name__} is not streamed: take a subset of it.")

    @property
    def location(self) -> str:
        """Where the samples are stored, by which verdicts on them are kept; "" keeps none."""
        return ""

    def state(self, index: int) -> str:
        """index of a sample → what changes when its content does, or "" if that is unknown."""
        del index
        return ""

    def examine(self, index: int) -> Verdict:
        """Decodes a sample.

        Args:
            index: its position in the dataset.

        Returns:
            Why it cannot be read, and what is odd about it.
        """
        return Verdict(self.why_unreadable(index))

    def why_unreadable(self, index: int) -> str:
        """Decodes a sample, because the header of a damaged file may be intact.

        Args:
            index: its position in the dataset.

        Returns:
            Why it cannot be read; "" if it can.
        """
        try:
            self.read(index)
        except DataError as error:
            return str(error).removeprefix(f"{self.name(index)}: ").rstrip(".")
        return ""

    def _with_rest(self, part: "Dataset", indices: Sequence[int]) -> "Dataset":
        """`part` with what a subset inherits."""
        part.bad_images, part.inventory = self.bad_images, self.inventory
        part.odd_images, part.target = self.odd_images, self.target
        part.values = None if self.values is None else self.values[list(indices)]
        part.weights = None if self.weights is None else self.weights[list(indices)]
        part.captions = [self.captions[i] for i in indices] if self.captions else ()
        return part

    def _no_random_access(self) -> DataError:
        return DataError(
            f"{type(self).__name__} is streamed: its samples can only be read in order. Name a "
            "split of its own for validation, or a dataset that is not streamed."
        )
