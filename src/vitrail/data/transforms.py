"""Random augmentation for training, a whole batch at a time on the device it is on.

A transform is a pure function of (images, labels, seed): it draws from generators of its own.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.data.augment_config import AugmentConfig, MultiCropConfig
from vitrail.data.functional import flip, mix, random_resized_crop, shift
from vitrail.data.own_transforms import ImageTransform
from vitrail.errors import ConfigError, check_range
from vitrail.preprocess import Preprocess, unit
from vitrail.values import NonNegativeInt, PositiveInt

KORNIA_MAGNITUDES = 1, 29  # of RandAugment
KORNIA = 0x5DEECE66D  # offset, so that kornia's random stream differs from the crops'


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

    @checked
    def __init__(
        self,
        config: AugmentConfig,
        preprocess: Preprocess,
        num_classes: NonNegativeInt,
        own: Sequence[ImageTransform] = (),
    ) -> None:
        config.check_size(preprocess.size)
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
        size = self.preprocess.size
        is_cut = config.crop == "resized" or images.shape[2:] != torch.Size(size)
        # Bytes are moved and normalized as they are; all else computes with floats.
        x = unit(images) if is_cut or self.color_ops is not None or self.own else images
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
    colors = (
        "vertical_flip",
        "rotation",
        "randaugment",
        "jitter",
        "hue",
        "grayscale",
        "blur",
        "solarize",
        "erasing",
    )
    off = dict.fromkeys(colors if axes == 3 else (*colors, "cutmix"), 0)
    for name, value in {"saturation": None, "policy": None, **off}.items():
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

    @checked
    def __init__(
        self,
        augment: AugmentConfig,
        crops: MultiCropConfig,
        preprocess: Preprocess,
        cell: tuple[PositiveInt, PositiveInt] = (1, 1),
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
    moves = config.vertical_flip, config.rotation
    if not (config.randaugment or jitter or any(rest) or any(moves)):
        return None
    import kornia.augmentation as K
    from kornia.augmentation.auto import RandAugment

    ops: list[nn.Module] = []
    if config.vertical_flip:
        ops.append(K.RandomVerticalFlip(p=config.vertical_flip))
    if config.rotation:
        ops.append(K.RandomRotation(config.rotation, p=1.0))
    if config.randaugment:
        check_range("magnitude", config.magnitude, *KORNIA_MAGNITUDES)
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
