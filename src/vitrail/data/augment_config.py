"""What is done to training images: settings of augmentation."""

import dataclasses
import math
from typing import Annotated, Literal, get_args

from vitrail.arguments import check_fields, checked_names
from vitrail.errors import ConfigError, check_range
from vitrail.preprocess import LARGEST
from vitrail.values import NonNegativeFloat, Range

PolicyName = Literal["trivialaugment", "augmix", "3-augment"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
MOST_CROPS = 256  # of an image
MOST_OPERATIONS = 15  # as many as RandAugment chooses from
Pixels = Annotated[int, Range(1, LARGEST)]


@checked_names
@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of training images. Zero turns a part off.

    Args:
        crop: "resized" cuts a random rectangle and resizes it; "padded" shifts by up to `padding`
            pixels; "none" takes the whole image. Frames of a clip are cut alike, signals in time.
        scale: least and greatest area of a resized crop, as a fraction of the image's.
        ratio: least and greatest width / height of a resized crop.
        padding: greatest shift of a padded crop, in pixels.
        flip: probability of a horizontal flip; signals have none.
        reverse: probability that a clip or a signal is reversed in time, and a volume flipped along
            its depth.
        vertical_flip: probability of a flip upside down.
        rotation: greatest rotation to either side, in degrees.
        randaugment: number of operations per image (Cubuk et al. 2019,
            https://arxiv.org/abs/1909.13719).
        magnitude: strength of these, 0 to 30.
        policy: "trivialaugment" (https://arxiv.org/abs/2103.10158), "augmix"
            (https://arxiv.org/abs/1912.02781) or "3-augment" (https://arxiv.org/abs/2204.07118), in
            place of RandAugment; None for none.
        jitter: strength of changes of brightness, contrast and saturation, 0 to 1.
        saturation: strength of changes of saturation, 0 to 1; None for `jitter`.
        hue: strength of changes of hue, 0 to 0.5.
        jitter_probability: probability of both.
        grayscale: probability of a conversion to gray.
        blur: probability of a Gaussian blur with a standard deviation of 0.1 to 2 pixels.
        solarize: probability that bright pixels are inverted.
        erasing: probability that a random rectangle is erased
            (https://arxiv.org/abs/1708.04896).
        mixup: α of mixup (https://arxiv.org/abs/1710.09412).
        cutmix: α of CutMix (https://arxiv.org/abs/1905.04899). With both, each batch gets one of
            them, with equal probability.

    Raises:
        ConfigError: a value is out of range.

    Example:
        >>> AugmentConfig(crop="none", flip=0).scale
        (0.35, 1.0)
    """

    crop: Literal["resized", "padded", "none"] = "resized"
    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    padding: Annotated[int, Range(0, LARGEST)] = 4
    flip: float = 0.5
    reverse: float = 0.0
    vertical_flip: float = 0.0
    rotation: float = 0.0
    randaugment: Annotated[int, Range(0, MOST_OPERATIONS)] = 0
    magnitude: int = 9
    policy: PolicyName | None = None
    jitter: float = 0.0
    saturation: float | None = None
    hue: float = 0.0
    jitter_probability: float = 1.0
    grayscale: float = 0.0
    blur: float = 0.0
    solarize: float = 0.0
    erasing: float = 0.0
    mixup: NonNegativeFloat = 0.0
    cutmix: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.policy is not None and self.randaugment:
            raise ConfigError(
                f"policy={self.policy!r} and randaugment={self.randaugment} are two policies: set "
                "one of them."
            )
        if not 0 <= self.rotation <= 180:
            raise ConfigError(f"rotation={self.rotation} is not within 0 to 180 degrees.")
        flips = ("flip", "vertical_flip", "reverse")
        for name in (*flips, "jitter_probability", "grayscale", "blur", "solarize", "erasing"):
            _check_probability(name, getattr(self, name))
        for name in ("jitter", "saturation"):  # of 1, it reaches from black to twice the brightness
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)} is not within 0 to 1.")
        if not 0 <= self.magnitude <= 30:
            raise ConfigError(f"magnitude={self.magnitude} is not within 0 to 30.")
        if not 0 <= self.hue <= 0.5:
            raise ConfigError(f"hue={self.hue} is not within 0 to 0.5.")
        _check_areas("scale", self.scale)
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ConfigError(f"ratio={self.ratio} is no range of ratios above 0.")

    def check_size(self, size: tuple[int, ...]) -> None:
        """Checks that something of a sample remains.

        Args:
            size: pixels per axis.

        Raises:
            ConfigError: a padded crop may shift the whole sample out of sight.
        """
        shortest = min(size[-2:])  # of a clip, not the frames
        if self.crop == "padded" and self.padding >= shortest:
            raise ConfigError(
                f"padding={self.padding} shifts all {shortest} pixels out of sight: use an eighth "
                f"of them, {max(1, shortest // 8)}."
            )


@checked_names
@dataclasses.dataclass(frozen=True)
class MultiCropConfig:
    """Several crops of each image, for methods that compare them: two global ones, then local.

    Args:
        local: number of local crops.
        local_size: pixels of local crops; None for 3/7 of the model's, 96 of 224, rounded to whole
            patches.
        global_scale: least and greatest area of global crops, as a fraction of the image's.
        local_scale: the same of local crops.
        blur: probability of a blur of the first global crop, the second, and the local ones.
        solarize: the same of solarization.

    Raises:
        ConfigError: a value is out of range.

    Example:
        >>> MultiCropConfig().local_pixels((224, 224), (16, 16))
        (96, 96)
    """

    local: int = 6
    local_size: Pixels | tuple[Pixels, Pixels] | None = None
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.4)
    blur: tuple[float, float, float] = (1.0, 0.1, 0.5)
    solarize: tuple[float, float, float] = (0.0, 0.2, 0.0)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.local < 0:
            raise ConfigError(f"local={self.local} is negative: use 0 or more.")
        check_range("local", self.local, 0, MOST_CROPS)
        for name in ("global_scale", "local_scale"):
            _check_areas(name, getattr(self, name))
        for name in ("blur", "solarize"):
            for probability in getattr(self, name):
                _check_probability(name, probability)

    def local_pixels(self, size: tuple[int, ...], cell: tuple[int, ...]) -> tuple[int, int]:
        """The size of local crops.

        Args:
            size: (height, width) of global crops.
            cell: pixels of a patch on each axis, to whole numbers of which the size is rounded.

        Returns:
            (height, width).
        """
        if isinstance(self.local_size, tuple):
            return self.local_size
        if self.local_size is not None:
            return self.local_size, self.local_size
        height, width = (
            max(round(side * 3 / 7 / pixels), 1) * pixels
            for side, pixels in zip(size, cell, strict=True)
        )
        return height, width


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name}={value} is no probability: use 0 to 1.")


def _check_areas(name: str, scale: tuple[float, float]) -> None:
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ConfigError(f"{name}={scale} is no range of areas within 0 to 1.")
