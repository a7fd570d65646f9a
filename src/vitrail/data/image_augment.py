"""Augmentation image by image, in the processes that read: only the pixels of the crop are made."""

import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from vitrail.data import pixel_moves
from vitrail.data import pixel_ops as ops
from vitrail.data.augment_config import AugmentConfig
from vitrail.data.deep_pixels import to_channels
from vitrail.data.image_file import ImageFile
from vitrail.data.images import to_tensor
from vitrail.data.own_transforms import OwnImageTransform
from vitrail.data.pixel_ops import Pixels
from vitrail.data.policies import get_policy, randaugment
from vitrail.errors import ConfigError
from vitrail.preprocess import Preprocess

Box = tuple[int, int, int, int]  # top, left, height, width
Change = Callable[[Pixels, random.Random], Pixels]


class ImageAugment:
    """Crops, flips and recolors one image after another, as `AugmentConfig` says.

    A crop is cut before it is resized, with antialiasing, and a JPEG of a camera is decoded to no
    more pixels than its crop needs. Mixing is left to `TrainTransform`, which sees whole batches.

    Args:
        config: what to do.
        preprocess: of the model; whole images are brought to its size as for evaluation.
        own: functions of your own, called last.

    Raises:
        ConfigError: the model's input is no flat image, or has channels that colors are not
            defined on.

    Example:
        >>> augment = ImageAugment(AugmentConfig(), Preprocess((8, 8), None))
        >>> augment(torch.zeros(3, 20, 30, dtype=torch.uint8), seed=0).shape
        torch.Size([3, 8, 8])
    """

    def __init__(
        self,
        config: AugmentConfig,
        preprocess: Preprocess,
        own: Sequence[OwnImageTransform] = (),
    ) -> None:
        if len(preprocess.size) != 2:
            raise ConfigError(f"inputs of size {preprocess.size} are no images: augment batches.")
        config.check_size(preprocess.size)
        self.config, self.preprocess, self.own = config, preprocess, own
        self.size = preprocess.size[0], preprocess.size[1]
        self.changes = _changes(config, self.size)
        if self.changes and preprocess.channels not in (1, 3):
            raise ConfigError(
                f"colors and rotations are for 1 or 3 channels, and these images have "
                f"{preprocess.channels}: leave crops and flips only."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Processes that are not forked get the settings, and make the changes of them."""
        return type(self), (self.config, self.preprocess, self.own)

    def __call__(self, image: Tensor | ImageFile, seed: int) -> Tensor:
        """Augments an image.

        Args:
            image: a file, or uint8 (C, H, W).
            seed: seed of all draws.

        Returns:
            uint8 (C, *size).
        """
        rng, config = random.Random(seed), self.config
        if config.crop == "resized":
            array = self._crop(image, rng)
        else:
            array = _channels_last(self.preprocess.crop(image))
        if config.crop == "padded":
            array = _shifted(array, config.padding, rng)
        if config.flip and rng.random() < config.flip:
            array = ops.flip_pixels(array)
        if config.vertical_flip and rng.random() < config.vertical_flip:
            array = ops.flip_pixels(array, upside_down=True)
        if self.changes or self.own:
            array = array.copy()  # a change may write into it
        for change in self.changes:
            array = change(array, rng)
        for own in self.own:
            array = own(array, rng.getrandbits(32))
        return _channels_first(array)

    def _crop(self, image: Tensor | ImageFile, rng: random.Random) -> Pixels:
        _, height, width = image.shape
        top, left, rows, columns = random_box(
            height, width, self.config.scale, self.config.ratio, rng
        )
        if isinstance(image, ImageFile):
            needed = (
                math.ceil(height * self.size[0] / rows),
                math.ceil(width * self.size[1] / columns),
            )
            pixels = image.pixels(at_least=needed, transient=True)
            down, right = pixels.shape[0] / height, pixels.shape[1] / width
            top, rows = round(top * down), max(round(rows * down), 1)
            left, columns = round(left * right), max(round(columns * right), 1)
            pixels = to_channels(pixels, self.preprocess.channels, image.name)
        else:
            pixels = _channels_last(to_tensor(image, self.preprocess.channels))
        crop = pixels[top : top + rows, left : left + columns]
        return ops.resize_pixels(crop, self.size)


def random_box(
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    rng: random.Random,
) -> Box:
    """Draws the rectangle of a random resized crop (Szegedy et al. 2014,
    https://arxiv.org/abs/1409.4842). One that does not fit is shrunk.

    Args:
        height: of the image.
        width: of the image.
        scale: least and greatest area, as a fraction of the image's.
        ratio: least and greatest width / height.
        rng: source of the draws.

    Returns:
        (top, left, height, width).

    Example:
        >>> random_box(100, 200, (1.0, 1.0), (2.0, 2.0), random.Random(0))
        (0, 0, 100, 200)
    """
    area = rng.uniform(*scale) * height * width
    aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
    columns, rows = math.sqrt(area * aspect), math.sqrt(area / aspect)
    excess = max(columns / width, rows / height, 1.0)
    rows, columns = max(round(rows / excess), 1), max(round(columns / excess), 1)
    return rng.randint(0, height - rows), rng.randint(0, width - columns), rows, columns


def batch_part(config: AugmentConfig) -> AugmentConfig:
    """What is left of an augmentation for whole batches, after `ImageAugment`.

    Args:
        config: the augmentation.

    Returns:
        Mixup and CutMix of it, and nothing else.

    Example:
        >>> batch_part(AugmentConfig(mixup=0.8)).crop
        'none'
    """
    return dataclasses.replace(
        AugmentConfig(crop="none", flip=0.0), mixup=config.mixup, cutmix=config.cutmix
    )


def _channels_last(pixels: Tensor) -> Pixels:
    """(C, H, W) → (H, W, C), a view of pixels that were decoded."""
    return pixels.permute(1, 2, 0).numpy()


def _channels_first(array: Pixels) -> Tensor:
    """(H, W, C) → (C, H, W), copied: batches of the other order are slower to normalize."""
    height, width, channels = array.shape
    planes = np.empty((channels, height, width), np.uint8)
    if channels <= ops.MAX_CHANNELS:
        cv2.split(array, list(planes))  # three times faster than NumPy
    else:
        planes[:] = array.transpose(2, 0, 1)
    return torch.from_numpy(planes)


def _shifted(pixels: Pixels, padding: int, rng: random.Random) -> Pixels:
    """The image shifted by up to `padding` pixels; zeros come in."""
    height, width = pixels.shape[:2]
    top, left = rng.randint(0, 2 * padding), rng.randint(0, 2 * padding)
    padded = np.zeros((height + 2 * padding, width + 2 * padding, pixels.shape[2]), np.uint8)
    padded[padding : padding + height, padding : padding + width] = pixels
    return padded[top : top + height, left : left + width]


def _changes(config: AugmentConfig, size: tuple[int, int]) -> list[Change]:
    """The changes of pixels that a configuration asks for, in their order."""
    changes: list[Change] = []
    if config.rotation:
        limit = config.rotation
        changes.append(
            lambda image, rng: pixel_moves.rotate_pixels(image, rng.uniform(-limit, limit))
        )
    if config.randaugment:
        count, magnitude = config.randaugment, config.magnitude
        changes.append(lambda image, rng: randaugment(image, rng, count, magnitude))
    if config.policy is not None:
        changes.append(get_policy(config.policy))
    if jitters := _jitters(config):
        changes.append(_with_probability(config.jitter_probability, _in_any_order(jitters)))
    if config.grayscale:
        changes.append(_with_probability(config.grayscale, lambda image, rng: ops.grayscale(image)))
    if config.blur:
        largest = max(min(2.0, min(size) / 32), 0.1)  # DINO's 2 pixels, less for small images
        changes.append(
            _with_probability(
                config.blur, lambda image, rng: ops.blur(image, rng.uniform(0.1, largest))
            )
        )
    if config.solarize:
        changes.append(
            _with_probability(config.solarize, lambda image, rng: ops.solarize(image, 128))
        )
    if config.erasing:
        changes.append(_with_probability(config.erasing, _erased))
    return changes


def _jitters(config: AugmentConfig) -> list[Change]:
    """Random brightness, contrast, saturation and hue, as far as they are asked for."""
    saturation = config.jitter if config.saturation is None else config.saturation
    jitters: list[Change] = []
    for change, strength in (
        (ops.brightness, config.jitter),
        (ops.contrast, config.jitter),
        (ops.saturation, saturation),
    ):
        if strength:
            jitters.append(_random_factor(change, strength))
    if config.hue:
        jitters.append(lambda image, rng: ops.hue(image, rng.uniform(-config.hue, config.hue)))
    return jitters


def _random_factor(change: Callable[[Pixels, float], Pixels], strength: float) -> Change:
    low = max(1 - strength, 0.0)
    return lambda image, rng: change(image, rng.uniform(low, 1 + strength))


def _in_any_order(changes: Sequence[Change]) -> Change:
    def apply(image: Pixels, rng: random.Random) -> Pixels:
        for change in rng.sample(changes, len(changes)):
            image = change(image, rng)
        return image

    return apply


def _with_probability(probability: float, change: Change) -> Change:
    return lambda image, rng: change(image, rng) if rng.random() < probability else image


def _erased(image: Pixels, rng: random.Random) -> Pixels:
    """A random rectangle becomes black (Zhong et al. 2020, https://arxiv.org/abs/1708.04896)."""
    height, width = image.shape[:2]
    top, left, rows, columns = random_box(height, width, (0.02, 1 / 3), (0.3, 3.3), rng)
    image[top : top + rows, left : left + columns] = 0
    return image
