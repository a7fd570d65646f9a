"""Moving shapes: generated clips whose class is a motion, which no single frame tells."""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.data.in_memory import InMemoryDataset

MOTIONS = (
    "right", "left", "down", "up", "grows", "shrinks", "turns clockwise", "turns counterclockwise",
)  # fmt: skip
SHAPES = ("disk", "square", "triangle", "bar")
FRAMES, SIDE = 8, 32
COUNTS = {"train": 4000, "val": 800, "test": 1600}
CHUNK = 200  # clips that are drawn at once


def open_moving_shapes() -> dict[str, Callable[[], Dataset]]:
    """Generated clips of 8 frames of 32 x 32 pixels, gray.

    A disk, a square, a triangle or a bar of random size and brightness lies in noise. It moves,
    grows or turns. Played backwards, each motion is that of another class. What leaves on one side
    comes in on the other, and what has grown begins anew, so that every frame of every class has
    the same distribution: no linear classifier tells the classes apart.

    Returns:
        The splits: 4,000 clips for training, 800 for validation, 1,600 for the test.

    Example:
        >>> validation = open_moving_shapes()["val"]()
        >>> len(validation), validation.read(0).shape
        (800, torch.Size([1, 8, 32, 32]))
    """
    return {
        split: functools.partial(_split, split, count, seed)
        for seed, (split, count) in enumerate(COUNTS.items())
    }


@functools.cache
def _split(split: str, count: int, seed: int) -> Dataset:
    generator = np.random.default_rng(seed)
    targets = np.arange(count) % len(MOTIONS)
    clips = [
        draw_motions(targets[start : start + CHUNK], generator) for start in range(0, count, CHUNK)
    ]
    labels = torch.from_numpy(targets)
    return InMemoryDataset(torch.cat(clips), labels, list(MOTIONS), name=f"moving-shapes/{split}")


def draw_motions(motions: np.ndarray, generator: np.random.Generator) -> Tensor:
    """Clips of one shape each.

    Args:
        motions: (N,), index into `MOTIONS` of each clip.
        generator: source of shapes, sizes, positions, brightness and noise.

    Returns:
        uint8 (N, 1, FRAMES, SIDE, SIDE).

    Example:
        >>> draw_motions(np.array([0, 5]), np.random.default_rng(0)).shape
        torch.Size([2, 1, 8, 32, 32])
    """
    count = len(motions)
    steps = np.linspace(-1, 1, FRAMES)  # backwards in time is the opposite sign
    kind, backwards = motions // 2, motions % 2
    course = np.where(backwards, -1.0, 1.0)[:, None] * steps  # (N, T)
    way = generator.uniform(3, 6, (count, 1)) * course
    center_x = generator.uniform(0, SIDE, (count, 1)) + way * (kind == 0)[:, None]
    center_y = generator.uniform(0, SIDE, (count, 1)) + way * (kind == 1)[:, None]
    growth = generator.uniform(0, 1, (count, 1)) + 0.45 * course * (kind == 2)[:, None]
    radius = generator.uniform(4, 7, (count, 1)) * np.exp(0.8 * (growth % 1) - 0.4)
    turn = generator.uniform(0.5, 0.9, (count, 1)) * course * (kind == 3)[:, None]
    angle = generator.uniform(0, 2 * np.pi, (count, 1)) + turn
    # A disk does not turn.
    shape = np.where(kind == 3, generator.integers(1, 4, count), generator.integers(0, 4, count))

    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    x = _around(columns - center_x[..., None, None].astype(np.float32))
    y = _around(rows - center_y[..., None, None].astype(np.float32))
    cosine, sine = (f(angle)[..., None, None].astype(np.float32) for f in (np.cos, np.sin))
    x, y = cosine * x + sine * y, cosine * y - sine * x
    distance = _distance(shape, x, y) - radius[..., None, None].astype(np.float32)
    cover = np.clip(0.5 - distance, 0, 1)

    light = generator.uniform(110, 250, (count, 1, 1, 1)).astype(np.float32)
    ground = generator.uniform(0, 90, (count, 1, 1, 1)).astype(np.float32)
    noise = generator.normal(0, 12, cover.shape).astype(np.float32)
    pixels = ground + (light - ground) * cover + noise
    return torch.from_numpy(pixels.round().clip(0, 255).astype(np.uint8))[:, None]


def _around(offset: np.ndarray) -> np.ndarray:
    """Offsets from the nearest copy of a shape, on a picture whose sides meet."""
    return (offset + SIDE / 2) % SIDE - SIDE / 2


def _distance(shape: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far points lie from the center, as shapes (N,) measure it."""
    across, along = np.abs(x), np.abs(y)
    distances = (
        np.hypot(x, y),
        np.maximum(across, along) * 1.15,
        np.maximum(0.866 * across + 0.5 * y, -y) * 1.4,
        np.maximum(across / 1.3, along * 2.5),
    )
    return np.choose(shape[:, None, None, None], distances)
