"""Recordings: videos, volumes and signals of any length, of which only the parts that are needed
are read.

    file or folder ─open→ Recording (C, *extent) ─sample→ part (C, size[0], ...) ─Preprocess→ input

A part is uint8 where the file stores bytes, 0 black and 255 white; of all other types it is float32
in the units of the file. Nothing is scaled by the content of one recording: `Sampling.window` is a
fixed scale, and mean and standard deviation are those of the training set.
"""

import contextlib
import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.data.file_spans import Source
from vitrail.errors import DataError
from vitrail.preprocess import Sampling

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}  # of F.interpolate, by number of axes


class Recording(ABC):
    """A video, a volume or a signal, whose parts are read from its file.

    Attributes:
        shape: (C, *extent): channels, then frames, height and width of a video; depth, height and
            width of a volume; the length of a signal.
        sampled_axes: number of axes, the first ones, along which parts are sampled. A video is
            sampled in time only, and its frames are resized later.

    Example:
        >>> signal = ArrayRecording("ramp", torch.arange(6).reshape(1, 6).numpy(), sampled_axes=1)
        >>> signal.read([torch.tensor([1, 3])]).tolist()
        [[1.0, 3.0]]
    """

    name: str
    shape: tuple[int, ...]
    sampled_axes: int

    @abstractmethod
    def read(self, indices: Sequence[Tensor]) -> Tensor:
        """Reads a part.

        Args:
            indices: for each sampled axis the positions to read, in ascending order; one may come
                several times.

        Returns:
            (C, *lengths): uint8, or float32 in the units of the file.

        Raises:
            DataError: the file is damaged.
        """


class ArrayRecording(Recording):
    """A recording that is an array, in memory or mapped from its file.

    Args:
        name: its path, for messages.
        array: (C, *extent) of numbers; whatever is indexed like an array of NumPy.
        sampled_axes: number of axes along which parts are sampled.

    Raises:
        DataError: an axis is empty.

    Example:
        >>> ArrayRecording("cube", np.zeros((1, 2, 3, 4)), sampled_axes=3).shape
        (1, 2, 3, 4)
    """

    def __init__(self, name: str, array: np.ndarray, sampled_axes: int) -> None:
        self.name, self.array, self.sampled_axes = name, array, sampled_axes
        self.shape = tuple(array.shape)
        if not all(self.shape):
            raise DataError(f"{name}: is empty, of shape {self.shape}.")

    def read(self, indices: Sequence[Tensor]) -> Tensor:
        """Reads the box that holds a part, and no more.

        Args:
            indices: for each axis the positions to read, in ascending order.

        Returns:
            (C, *lengths).

        Raises:
            DataError: the file is damaged, or its values are no finite numbers.
        """
        box = tuple(slice(int(i[0]), int(i[-1]) + 1) for i in indices)
        with damage(self.name):
            part = to_sample(np.asarray(self.array[(slice(None), *box)]), self.name)
        for axis, index in enumerate(indices, 1):
            part = part.index_select(axis, index - index[0])
        return part


def to_sample(array: np.ndarray, name: str) -> Tensor:
    """Numbers of a file as a sample.

    Args:
        array: of any numeric type.
        name: name of the file for messages.

    Returns:
        uint8 of bytes, otherwise float32 of the same values.

    Raises:
        DataError: they are no real numbers, or some are not finite.

    Example:
        >>> to_sample(np.array([70_000.0]), "scan.npy")
        tensor([70000.])
    """
    if array.dtype == np.uint8:
        return torch.from_numpy(np.array(array, order="C"))  # a copy, as the file may be mapped
    if array.dtype.kind not in "buif":
        raise DataError(f"{name}: holds values of type {array.dtype}: real numbers are needed.")
    part = torch.from_numpy(np.array(array, np.float32, order="C"))
    if not part.isfinite().all():
        raise DataError(f"{name}: holds NaN or infinite values: replace them.")
    return part


@contextlib.contextmanager
def damage(name: str) -> Iterator[None]:
    """Turns the errors of a decoder into an error of one line.

    Args:
        name: name of the file.

    Yields:
        Nothing; the body reads the file.

    Raises:
        DataError: the body failed.

    Example:
        >>> with damage("a.npy"):
        ...     raise ValueError("cut short")
        Traceback (most recent call last):
        vitrail.errors.DataError: a.npy: damaged (cut short).
    """
    try:
        yield
    except DataError:
        raise
    except ImportError as problem:
        raise DataError(
            f"{name}: is read by the package {problem.name}: pip install {problem.name}"
        ) from None
    except MemoryError:
        raise
    except Exception as problem:  # decoders raise many kinds, of which some are their own
        lines = str(problem).strip().splitlines()
        raise DataError(
            f"{name}: damaged ({lines[0] if lines else type(problem).__name__})."
        ) from None


def sample(
    recording: Recording,
    size: tuple[int, ...],
    sampling: Sampling,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Reads a part of a model's size.

    Args:
        recording: what to read.
        size: the model's input, of which a video gives the number of frames only.
        sampling: stride, and the number of parts for evaluation.
        generator: source of a random start, or of random frames in their intervals, for training.
            None for evaluation, whose parts lie evenly.

    Returns:
        (C, n · size[0], ...), where n parts of evaluation follow each other along the first axis;
        in training n is 1.

    Example:
        >>> ramp = ArrayRecording("ramp", np.arange(12.0).reshape(1, 12), sampled_axes=1)
        >>> sample(ramp, (3,), Sampling(stride=2)).tolist()
        [[4.0, 6.0, 8.0]]
        >>> sample(ramp, (3,), Sampling()).tolist()
        [[1.5, 5.5, 9.5]]
    """
    axes = recording.sampled_axes
    extent = recording.shape[1 : 1 + axes]
    if sampling.stride is None and axes == len(recording.shape) - 1:
        whole = recording.read([torch.arange(length) for length in extent])
        return resample(whole, size)
    positions = []
    for length, count in zip(extent, size[:axes], strict=True):
        if generator is not None:
            phases = torch.rand(1 if sampling.stride else count, generator=generator)[None]
        else:
            phases = ((torch.arange(sampling.parts) + 0.5) / sampling.parts)[:, None]
        positions.append(_indices(length, count, sampling.stride, phases))
    parts = [recording.read(indices) for indices in itertools.product(*positions)]
    return torch.cat(parts, dim=1)


def _indices(length: int, count: int, stride: int | None, phases: Tensor) -> Tensor:
    """length of an axis, number and stride of positions, phases (n, 1 or count) within 0..1 →
    positions (n, count). The border is repeated where the axis is too short."""
    steps = torch.arange(count)
    if stride is None:  # one of each of `count` equal intervals
        positions = ((steps + phases) * length / count).long()
        return positions.clamp(0, length - 1)
    room = length - ((count - 1) * stride + 1)
    if room < 0:
        return (steps * stride + room // 2).clamp(0, length - 1).expand(len(phases), -1)
    starts = (phases * (room + 1)).long().clamp(max=room)
    return starts + steps * stride


def resample(sample: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resamples a volume or a signal: the mean where an axis shrinks, linear where it grows.

    Args:
        sample: (C, *any).
        size: length of each axis.

    Returns:
        (C, *size) of the same type.

    Example:
        >>> resample(torch.tensor([[0.0, 2.0, 4.0, 6.0]]), (2,))
        tensor([[1., 5.]])
    """
    values = sample.float()[None]
    reduced = tuple(min(old, new) for old, new in zip(sample.shape[1:], size, strict=True))
    if reduced != tuple(sample.shape[1:]):
        values = F.interpolate(values, reduced, mode="area")
    if reduced != size:
        values = F.interpolate(values, size, mode=MODES[len(size)])
    if sample.dtype == torch.uint8:
        values = values.round().clamp(0, 255)
    return values[0].to(sample.dtype)


def in_natural_order(paths: Sequence[Source]) -> list[Source]:
    """Sorts paths by their names, numbers by value.

    Args:
        paths: the paths.

    Returns:
        The same in order.

    Example:
        >>> from pathlib import Path
        >>> [path.name for path in in_natural_order([Path("f10.png"), Path("f9.png")])]
        ['f9.png', 'f10.png']
    """

    def key(path: Source) -> list[tuple[int, str]]:
        return [(int(n or 0), text) for n, text in re.findall(r"(\d+)|(\D+)", path.name)]

    return sorted(paths, key=key)
