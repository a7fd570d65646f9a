"""Random augmentation for training, a whole batch at a time on the device it is on.

A transform is a pure function of (images, labels, seed): it draws from generators of its own.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.data.functional import flip, mix, random_resized_crop, shift
from vitrail.data.own_transforms import ImageTransform
from vitrail.errors import ConfigError, check_choice
from vitrail.preprocess import Preprocess, unit

KORNIA = 0x5DEECE66D  # offset, so that kornia's random stream differs from the crops'


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
        randaugment: number of operations per image (Cubuk et al. 2019,
            https://arxiv.org/abs/1909.13719).
        magnitude: strength of these, 0 to 30.
        jitter: strength of changes of brightness, contrast and saturation.
        saturation: strength of changes of saturation; None for `jitter`.
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
    padding: int = 4
    flip: float = 0.5
    reverse: float = 0.0
    randaugment: int = 0
    magnitude: int = 9
    jitter: float = 0.0
    saturation: float | None = None
    hue: float = 0.0
    jitter_probability: float = 1.0
    grayscale: float = 0.0
    blur: float = 0.0
    solarize: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        check_choice("crop", self.crop, ("resized", "padded", "none"))
        probabilities = ("flip", "reverse", "jitter_probability", "grayscale", "blur", "solarize")
        for name in (*probabilities, "erasing"):
            _check_probability(name, getattr(self, name))
        for name in ("mixup", "cutmix", "jitter", "padding", "randaugment"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)} is negative: use 0 or more.")
        if self.saturation is not None and self.saturation < 0:
            raise ConfigError(f"saturation={self.saturation} is negative: use 0 or more.")
        if not 0 <= self.magnitude <= 30:
            raise ConfigError(f"magnitude={self.magnitude} is not within 0 to 30.")
        if not 0 <= self.hue <= 0.5:
            raise ConfigError(f"hue={self.hue} is not within 0 to 0.5.")
        _check_areas("scale", self.scale)
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigError(f"ratio={self.ratio} is no range of ratios above 0.")


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
    local_size: int | tuple[int, int] | None = None
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.4)
    blur: tuple[float, float, float] = (1.0, 0.1, 0.5)
    solarize: tuple[float, float, float] = (0.0, 0.2, 0.0)

    def __post_init__(self) -> None:
        if self.local < 0:
            raise ConfigError(f"local={self.local} is negative: use 0 or more.")
        sizes = self.local_size if isinstance(self.local_size, tuple) else (self.local_size,)
        if any(size is not None and size < 1 for size in sizes):
            raise ConfigError(f"local_size={self.local_size} is no number of pixels.")
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


class TrainTransform:
    """Augments and normalizes a batch.

    Clips, volumes and signals are cropped, flipped, reversed and mixed; colors are for images.

    Args:
        config: what to do.
        preprocess: size and statistics of the model's input.
        num_classes: number of classes, for the probabilities of mixed labels.
        own: further transforms, after those of `config` and before mixing.

    Raises:
        ConfigError: an augmentation is for images, and samples are not.

    Example:
        >>> from vitrail.preprocess import Preprocess
        >>> transform = TrainTransform(AugmentConfig(), Preprocess((8, 8), None), 2)
        >>> images = torch.zeros(4, 3, 10, 10, dtype=torch.uint8)
        >>> x, labels = transform(images, torch.zeros(4).long(), torch.full((4, 2), 10), seed=0)
        >>> x.shape, labels.shape
        (torch.Size([4, 3, 8, 8]), torch.Size([4]))
    """

    def __init__(
        self,
        config: AugmentConfig,
        preprocess: Preprocess,
        num_classes: int,
        own: Sequence[ImageTransform] = (),
    ) -> None:
        self.config, self.preprocess, self.num_classes = config, preprocess, num_classes
        self.own = own
        self.color_ops: nn.Module | None = None
        if len(preprocess.size) == 2:
            self.color_ops = _kornia_ops(config, preprocess.size)
        else:
            _check_for_other_axes(config, len(preprocess.size))
        if config.reverse and len(preprocess.size) == 2:
            raise ConfigError(f"reverse={config.reverse} is for clips and signals: set it to 0.")

    def __call__(
        self, images: Tensor, labels: Tensor, sizes: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Augments a batch.

        Args:
            images: (B, C, *any), uint8 or float.
            labels: (B,), class indices.
            sizes: (B, axes), the sizes of the original samples.
            seed: seed of all draws.

        Returns:
            images: float (B, C, *size), normalized.
            labels: (B,), or class probabilities (B, classes) where images were mixed.
        """
        config = self.config
        generator = torch.Generator(images.device).manual_seed(seed)
        if config.crop == "padded":
            images = shift(images, config.padding, generator)
        x = unit(images)
        size = self.preprocess.size
        if config.crop == "resized":
            x = random_resized_crop(x, sizes, size, config.scale, config.ratio, generator)
        elif x.shape[2:] != torch.Size(size):
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        if len(size) > 1:
            x = flip(x, config.flip, generator)
        x = flip(x, config.reverse, generator, axis=2)
        if self.color_ops is not None:
            x = _with_kornia(self.color_ops, x, seed)
        for transform in self.own:
            x = transform(x, generator)
        return mix(
            self.preprocess.normalise(x),
            labels,
            self.num_classes,
            mixup=config.mixup,
            cutmix=config.cutmix,
            generator=generator,
        )


def _check_for_other_axes(config: AugmentConfig, axes: int) -> None:
    colors = ("randaugment", "jitter", "hue", "grayscale", "blur", "solarize", "erasing")
    off = dict.fromkeys(colors if axes == 3 else (*colors, "cutmix"), 0)
    for name, value in {"saturation": None, **off}.items():
        if getattr(config, name) != value:
            raise ConfigError(
                f"{name}={getattr(config, name)!r} is for images, and these samples have {axes} "
                f"axes: set it to {value!r}."
            )


class MultiCrop:
    """Several random crops of each image of a batch, as DINO compares them (Caron et al. 2021,
    https://arxiv.org/abs/2104.14294).

    Args:
        augment: flips and colors of all crops.
        crops: number and size of crops, and how often they are blurred and solarized.
        preprocess: size and statistics of the model's input.
        cell: pixels of a patch on each axis, to which the size of local crops is rounded.
        own: further transforms of all crops, after flips and colors.

    Raises:
        ConfigError: `augment` asks for what cannot be done to several crops.

    Example:
        >>> from vitrail.preprocess import Preprocess
        >>> transform = MultiCrop(AugmentConfig(), MultiCropConfig(local=1, blur=(0, 0, 0),
        ...                       solarize=(0, 0, 0)), Preprocess((14, 14), None))
        >>> images = torch.zeros(2, 3, 20, 20, dtype=torch.uint8)
        >>> [crop.shape[-1] for crop in transform(images, torch.full((2, 2), 20), seed=0)]
        [14, 14, 6]
    """

    def __init__(
        self,
        augment: AugmentConfig,
        crops: MultiCropConfig,
        preprocess: Preprocess,
        cell: tuple[int, ...] = (1, 1),
        own: Sequence[ImageTransform] = (),
    ) -> None:
        if len(preprocess.size) != 2:
            raise ConfigError("several crops are cut of flat images only: take another method.")
        for name, only in (("crop", "resized"), ("mixup", 0), ("cutmix", 0)):
            if getattr(augment, name) != only:
                raise ConfigError(
                    f"{name}={getattr(augment, name)!r} is not for several crops of an image: set "
                    f"it to {only}."
                )
        for name in ("blur", "solarize"):
            if getattr(augment, name):
                raise ConfigError(
                    f"{name} is one probability for several crops: set crops.{name}, one for each "
                    "kind of crop."
                )
        self.preprocess, self.own = preprocess, own
        local = crops.local_pixels(preprocess.size, cell)
        # For each kind of crop: number, size, configuration and color operations.
        self.kinds: list[tuple[int, tuple[int, ...], AugmentConfig, nn.Module | None]] = []
        for kind, (count, size, scale) in enumerate(
            (
                (1, preprocess.size, crops.global_scale),
                (1, preprocess.size, crops.global_scale),
                (crops.local, local, crops.local_scale),
            )
        ):
            config = dataclasses.replace(
                augment, scale=scale, blur=crops.blur[kind], solarize=crops.solarize[kind]
            )
            self.kinds.append((count, size, config, _kornia_ops(config, size)))

    def __call__(self, images: Tensor, sizes: Tensor, seed: int) -> tuple[Tensor, ...]:
        """Cuts the crops of a batch.

        Args:
            images: uint8 (B, C, h, w).
            sizes: (B, 2), height and width of the original images.
            seed: seed of all draws.

        Returns:
            Float crops, normalized: two of (B, C, *size), then `local` of (B, C, *local_size).
        """
        generator = torch.Generator(images.device).manual_seed(seed)
        x = unit(images)
        crops: list[Tensor] = []
        for kind, (count, size, config, color_ops) in enumerate(self.kinds):
            if not count:
                continue
            cut = [
                random_resized_crop(x, sizes, size, config.scale, config.ratio, generator)
                for _ in range(count)
            ]
            batch = flip(torch.cat(cut), config.flip, generator)
            if color_ops is not None:
                batch = _with_kornia(color_ops, batch, seed + kind)
            for transform in self.own:
                batch = transform(batch, generator)
            crops.extend(self.preprocess.normalise(batch).chunk(count))
        return tuple(crops)


def _kornia_ops(config: AugmentConfig, size: tuple[int, ...]) -> nn.Module | None:
    """kornia's operations on images of a size, or None."""
    saturation = config.jitter if config.saturation is None else config.saturation
    jitter = config.jitter_probability and (config.jitter or saturation or config.hue)
    rest = config.grayscale, config.blur, config.solarize, config.erasing
    if not (config.randaugment or jitter or any(rest)):
        return None
    import kornia.augmentation as K
    from kornia.augmentation.auto import RandAugment

    ops: list[nn.Module] = []
    if config.randaugment:
        ops.append(RandAugment(n=config.randaugment, m=config.magnitude))
    if jitter:
        strength = config.jitter
        ops.append(
            K.ColorJitter(strength, strength, saturation, config.hue, p=config.jitter_probability)
        )
    if config.grayscale:
        ops.append(K.RandomGrayscale(p=config.grayscale))
    if config.blur:
        # DINO's standard deviation of 0.1 to 2 pixels, less for images of few pixels.
        largest = max(min(2.0, min(size) / 32), 0.1)
        kernel = 2 * math.ceil(3 * largest) + 1
        ops.append(
            K.RandomGaussianBlur(kernel, (0.1, largest), p=config.blur, border_type="replicate")
        )
    if config.solarize:
        ops.append(K.RandomSolarize(thresholds=0.0, additions=0.0, p=config.solarize))
    if config.erasing:
        ops.append(K.RandomErasing(p=config.erasing, scale=(0.02, 1 / 3), ratio=(0.3, 3.3)))
    return nn.Sequential(*ops)


def _with_kornia(ops: nn.Module, x: Tensor, seed: int) -> Tensor:
    """Runs kornia, which draws from the global generator, and puts that generator back."""
    channels = x.shape[1]
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.manual_seed(seed ^ KORNIA)
        # Colors are defined on three channels; gray is three alike.
        x = ops(x.expand(-1, 3, -1, -1) if channels == 1 else x)
    return x.mean(1, keepdim=True) if channels == 1 else x
