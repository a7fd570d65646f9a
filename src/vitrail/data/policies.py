"""Policies: which operations change an image, and how strongly."""

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vitrail.data import pixel_moves
from vitrail.data import pixel_ops as ops
from vitrail.data.augment_config import PolicyName
from vitrail.data.pixel_ops import Pixels

Policy = Callable[[Pixels, random.Random], Pixels]
STEPS = 30  # the greatest magnitude


class Operation(NamedTuple):
    """An operation with the change that it makes at the greatest magnitude.

    Args:
        change: function of an image and a value, or of an image alone.
        value: of a magnitude on 0..1 and a number of pixels; None where there is none.
        signed: whether half of the changes go the other way.

    Example:
        >>> turn = pixel_moves.rotate_pixels
        >>> Operation(turn, lambda m, side: 30 * m, signed=True).value(0.5, 224)
        15.0
    """

    change: Callable[..., Pixels]
    value: Callable[[float, int], float] | None = None
    signed: bool = False

    def __call__(self, image: Pixels, magnitude: float, rng: random.Random) -> Pixels:
        """image, magnitude 0..1, source of the sign → changed image."""
        if self.value is None:
            return self.change(image)
        amount = self.value(magnitude, max(image.shape[:2]))
        if self.signed and rng.random() < 0.5:
            amount = -amount
        return self.change(image, amount)


def _unchanged(image: Pixels) -> Pixels:
    return image


def _factor(change: Callable[[Pixels, float], Pixels]) -> Callable[[Pixels, float], Pixels]:
    return lambda image, amount: change(image, 1 + amount)


def _ranges(
    *, shear: float, move: Callable[[int], float], turn: float, enhance: float, bits: int
) -> dict[str, Operation]:
    """The operations of RandAugment and TrivialAugment with their greatest changes."""

    def linear(greatest: float) -> Callable[[float, int], float]:
        return lambda magnitude, side: greatest * magnitude

    def moved(magnitude: float, side: int) -> float:
        return move(side) * magnitude

    return {
        "identity": Operation(_unchanged),
        "autocontrast": Operation(ops.autocontrast),
        "equalize": Operation(ops.equalize),
        "rotate": Operation(pixel_moves.rotate_pixels, linear(turn), True),
        "solarize": Operation(ops.solarize, lambda magnitude, side: 256 * (1 - magnitude)),
        "posterize": Operation(ops.posterize, lambda magnitude, side: 8 - round(bits * magnitude)),
        "saturation": Operation(_factor(ops.saturation), linear(enhance), True),
        "contrast": Operation(_factor(ops.contrast), linear(enhance), True),
        "brightness": Operation(_factor(ops.brightness), linear(enhance), True),
        "sharpness": Operation(_factor(ops.sharpness), linear(enhance), True),
        "shear_x": Operation(pixel_moves.shear_x, linear(shear), True),
        "shear_y": Operation(pixel_moves.shear_y, linear(shear), True),
        "translate_x": Operation(pixel_moves.translate_x, moved, True),
        "translate_y": Operation(pixel_moves.translate_y, moved, True),
    }


RANDAUGMENT = tuple(
    _ranges(shear=0.3, move=lambda side: side * 150 / 331, turn=30, enhance=0.9, bits=4).values()
)
WIDE = tuple(_ranges(shear=0.99, move=lambda side: 32, turn=135, enhance=0.99, bits=6).values())
_MIXED = _ranges(shear=0.3, move=lambda side: side / 3, turn=30, enhance=0.9, bits=4)
AUGMIX = tuple(
    _MIXED[name]
    for name in (
        "autocontrast", "equalize", "posterize", "rotate", "solarize", "shear_x", "shear_y",
        "translate_x", "translate_y",
    )
)  # fmt: skip
SEVERITY, CHAINS, LONGEST = 0.3, 3, 3  # of AugMix: magnitude, number of chains and their length


def randaugment(
    image: Pixels,
    rng: random.Random,
    count: int,
    magnitude: int,
    choices: Sequence[Operation] = RANDAUGMENT,
) -> Pixels:
    """RandAugment (Cubuk et al. 2019, https://arxiv.org/abs/1909.13719).

    Args:
        image: uint8 (H, W, C).
        rng: source of the draws.
        count: number of operations.
        magnitude: their strength, 0 to 30.
        choices: operations to choose from.

    Returns:
        uint8 (H, W, C).

    Example:
        >>> randaugment(np.zeros((4, 4, 3), np.uint8), random.Random(0), 2, 9).shape
        (4, 4, 3)
    """
    for _ in range(count):
        image = rng.choice(choices)(image, magnitude / STEPS, rng)
    return image


def trivialaugment(image: Pixels, rng: random.Random) -> Pixels:
    """TrivialAugment: one operation of random strength (Müller & Hutter 2021,
    https://arxiv.org/abs/2103.10158).

    Args:
        image: uint8 (H, W, C).
        rng: source of the draws.

    Returns:
        uint8 (H, W, C).

    Example:
        >>> trivialaugment(np.zeros((4, 4, 3), np.uint8), random.Random(0)).shape
        (4, 4, 3)
    """
    return randaugment(image, rng, 1, rng.randint(0, STEPS), WIDE)


def augmix(image: Pixels, rng: random.Random) -> Pixels:
    """AugMix: a mixture of the image and of chains of operations (Hendrycks et al. 2020,
    https://arxiv.org/abs/1912.02781), without its consistency loss.

    Args:
        image: uint8 (H, W, C).
        rng: source of the draws.

    Returns:
        uint8 (H, W, C).

    Example:
        >>> augmix(np.zeros((4, 4, 3), np.uint8), random.Random(0)).shape
        (4, 4, 3)
    """
    draws = [rng.expovariate(1.0) for _ in range(CHAINS)]  # normalized: Dirichlet(1, 1, 1)
    mixture = np.zeros(image.shape, np.float32)
    for draw in draws:
        chain = image
        for _ in range(rng.randint(1, LONGEST)):
            chain = rng.choice(AUGMIX)(chain, rng.uniform(0.1 / 3, 1) * SEVERITY, rng)
        mixture += np.float32(draw / math.fsum(draws)) * chain
    weight = np.float32(rng.betavariate(1, 1))
    return np.rint((1 - weight) * image + weight * mixture).astype(np.uint8)


def three_augment(image: Pixels, rng: random.Random) -> Pixels:
    """3-Augment: gray, solarized or blurred, with equal probability (Touvron et al. 2022,
    https://arxiv.org/abs/2204.07118). The paper adds a color jitter of 0.3.

    Args:
        image: uint8 (H, W, C).
        rng: source of the draws.

    Returns:
        uint8 (H, W, C).

    Example:
        >>> three_augment(np.zeros((4, 4, 3), np.uint8), random.Random(0)).shape
        (4, 4, 3)
    """
    choice = rng.randrange(3)
    if choice == 0:
        return ops.grayscale(image)
    if choice == 1:
        return ops.solarize(image, 128)
    return ops.blur(image, rng.uniform(0.1, 2.0))


def get_policy(name: PolicyName) -> Policy:
    """A policy by its name.

    Args:
        name: its name in the settings.

    Returns:
        A function of an image and a source of draws.

    Example:
        >>> get_policy("augmix").__name__
        'augmix'
    """
    return {
        "trivialaugment": trivialaugment, "augmix": augmix, "3-augment": three_augment
    }[name]  # fmt: skip
