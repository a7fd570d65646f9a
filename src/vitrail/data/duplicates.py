"""Images that occur more than once: the same pixels, or nearly the same picture."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.resizing import resize

Progress = Callable[[int, int], None]  # (done, total)
NEAR = 4  # bits of 64 in which the hashes of near duplicates may differ
FLAT = 6  # bits of a hash that tell more than a plain surface


class Copy(NamedTuple):
    """A sample of a dataset of several splits.

    Args:
        split: its split.
        name: its name, such as its path.
        label: its class; "" where there are none.

    Example:
        >>> Copy("train", "cat/1.jpg", "cat").split
        'train'
    """

    split: str
    name: str
    label: str


def label_of(dataset: Dataset, index: int) -> str:
    """What a dataset says of a sample, as a text.

    Args:
        dataset: the dataset.
        index: position of the sample.

    Returns:
        Its class, its labels, or its numbers; "" where there is none.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> label_of(open_dataset("digits", limit=20), 0)
        '0'
    """
    if not dataset.labels:
        return ""
    if dataset.values is None:
        return dataset.labels[dataset.targets()[index]]
    pairs = zip(dataset.labels, dataset.values[index].tolist(), strict=True)
    if dataset.target == "numbers":
        return ", ".join(f"{label} {value:g}" for label, value in pairs)
    return ", ".join(label for label, value in pairs if value)


class Duplicates(NamedTuple):
    """Groups of samples that are alike.

    Args:
        exact: groups of equal pixels.
        near: groups of nearly equal pictures, such as other sizes or compressions of one; those
            of equal pixels are not among them.

    Example:
        >>> Duplicates([], []).leaks()
        []
    """

    exact: list[list[Copy]]
    near: list[list[Copy]]

    def leaks(self) -> list[list[Copy]]:
        """The groups whose samples are in different splits, so that a test sees training images."""
        return [g for g in self.exact + self.near if len({copy.split for copy in g}) > 1]

    def contradictions(self) -> list[list[Copy]]:
        """The groups whose samples have different labels."""
        return [g for g in self.exact + self.near if len({copy.label for copy in g}) > 1]


def picture_hash(image: Tensor) -> int:
    """A hash that is nearly the same for nearly the same pictures: the signs of horizontal
    differences of 9 x 8 gray pixels (dHash).

    Args:
        image: uint8 (C, H, W).

    Returns:
        64 bits.

    Example:
        >>> picture_hash(torch.arange(72, dtype=torch.uint8).reshape(1, 8, 9)) == 2**64 - 1
        True
    """
    gray = image.float().mean(0, keepdim=True).round().to(torch.uint8)
    small = resize(gray, (8, 9), "bilinear")[0].int()
    bits = (small[:, 1:] > small[:, :-1]).flatten().numpy()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def find_duplicates(splits: Mapping[str, Dataset], progress: Progress | None = None) -> Duplicates:
    """Finds copies of images within splits and between them.

    Args:
        splits: datasets of images by the name of their split.
        progress: called with (done, total).

    Returns:
        Groups of equal and of nearly equal images.

    Raises:
        DataError: an image cannot be read.

    Example:
        >>> from vitrail.data.in_memory import InMemoryDataset
        >>> images = torch.arange(2 * 192, dtype=torch.uint8).reshape(2, 3, 8, 8) % 7
        >>> one = InMemoryDataset(images, torch.tensor([0, 1]), ["a", "b"])
        >>> [len(group) for group in find_duplicates({"train": one, "test": one}).leaks()]
        [2, 2]
    """
    samples = [(split, data, i) for split, data in splits.items() for i in range(len(data))]
    by_pixels: dict[tuple[int, ...], list[int]] = defaultdict(list)
    hashes = np.zeros(len(samples), np.uint64)

    def read(sample: tuple[str, Dataset, int]) -> tuple[tuple[int, ...], int]:
        image = sample[1].read(sample[2])
        pixels = np.ascontiguousarray(image.numpy())
        return (*image.shape, hash(pixels.tobytes())), picture_hash(image)

    with ThreadPoolExecutor() as pool:
        for index, (pixels, picture) in enumerate(pool.map(read, samples)):
            by_pixels[pixels].append(index)
            hashes[index] = picture
            if progress is not None:
                progress(index + 1, len(samples))

    def copies(indices: Sequence[int]) -> list[Copy]:
        return [
            Copy(split, dataset.name(i), label_of(dataset, i))
            for split, dataset, i in (samples[index] for index in indices)
        ]

    exact = [indices for indices in by_pixels.values() if len(indices) > 1]
    firsts = np.array(sorted(indices[0] for indices in by_pixels.values()))
    near = [firsts[group].tolist() for group in _near_groups(hashes[firsts])]
    return Duplicates([copies(g) for g in exact], [copies(g) for g in near])


def _near_groups(hashes: NDArray[np.uint64]) -> list[NDArray[np.int64]]:
    """Positions of hashes that differ from another in `NEAR` bits at most, in groups.

    Two such hashes agree in one of `NEAR` + 1 pieces, so that only those need to be compared.
    """
    group = np.arange(len(hashes))
    counts = np.array([int(value).bit_count() for value in hashes])
    rich = np.flatnonzero((counts >= FLAT) & (counts <= 64 - FLAT))
    width = -(-64 // (NEAR + 1))
    for piece in range(NEAR + 1):
        keys = (hashes >> np.uint64(piece * width)) & np.uint64((1 << width) - 1)
        order = rich[np.argsort(keys[rich], kind="stable")]
        for block in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            for i, first in enumerate(block):
                different = np.bitwise_count(hashes[block[i + 1 :]] ^ hashes[first])
                for other in block[i + 1 :][different <= NEAR]:
                    group[group == group[other]] = group[first]
    names, inverse = np.unique(group, return_inverse=True)
    groups = (
        [np.flatnonzero(inverse == number) for number in range(len(names))]
        if len(names) < len(hashes)
        else []
    )
    return [members for members in groups if len(members) > 1]
