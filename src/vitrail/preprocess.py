"""Preprocessing: what happens to an image before a model sees it. It is saved with every model."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from vitrail.arguments import check_fields, checked, checked_names
from vitrail.errors import ConfigError, DataError, check_choice, check_range, describe_value
from vitrail.resizing import center_crop, covering_crop, crop, padded, resize
from vitrail.sampling import Sampling as Sampling
from vitrail.values import PositiveInt, check_value

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROP_FRACTION = 0.875  # of the short side
LARGEST = 2**24  # pixels of a side, and numbers of a file in its own units
PILLOW_FILTERS = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers for them
CACHED = 2**18  # floats that a core keeps near while it normalizes them


def unit(samples: Tensor) -> Tensor:
    """The scale of `Preprocess.mean`: bytes on 0..1, other values in their own units.

    Args:
        samples: uint8 or float, of any shape.

    Returns:
        A new float32 tensor of the same shape.

    Example:
        >>> unit(torch.tensor([51], dtype=torch.uint8)), unit(torch.tensor([51.0]))
        (tensor([0.2000]), tensor([51.]))
    """
    values = samples.to(torch.float32, copy=True)
    return values.div_(255) if samples.dtype == torch.uint8 else values


@checked_names
@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Resizes an image, crops its center, scales pixels to 0..1 and normalizes them.

    Args:
        size: (height, width) of the model's input, or (length,) of a signal, (frames, height,
            width) of a video, (depth, height, width) of a volume.
        resize: length of the short side before the center crop, in pixels, or (height, width) that
            the whole image covers in its proportions; None for `size`, without a crop.
        interpolation: "nearest", "bilinear" or "bicubic".
        mean: mean of each channel, on the scale 0..1.
        std: standard deviation of each channel, on the same scale.
        sampling: how parts are sampled from videos, volumes and signals.
        pad: whether the image fits into `resize` in its proportions, between borders of the mean
            color.
        squeeze: whether the image gets the proportions of `resize`, as it does where that is None.
        white: value of white in images of more than 8 bits; None for the largest value.

    Raises:
        ConfigError: a value is unknown or contradicts another.

    Example:
        >>> preprocess = Preprocess(size=(32, 32), resize=36)
        >>> preprocess(torch.zeros(3, 50, 80, dtype=torch.uint8)).shape
        torch.Size([1, 3, 32, 32])
    """

    size: tuple[int, ...] = (224, 224)
    resize: int | tuple[int, int] | None = 256
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    pad: bool = False
    white: float | None = None
    squeeze: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= len(self.size) <= 3 or not self.mean:
            raise ConfigError(
                f"size={self.size} and mean={self.mean}: give one to three sides, and a mean per "
                "channel."
            )
        check_choice("interpolation", self.interpolation, tuple(PILLOW_FILTERS.values()))
        for side in self.size:
            check_range("size", side, 1, LARGEST)
        for mean, std in zip(self.mean, self.std, strict=False):
            check_range("mean", mean, -LARGEST, LARGEST)
            check_range("std", std, 1 / LARGEST, LARGEST)
        if len(self.mean) != len(self.std):
            raise ConfigError(
                f"mean has {len(self.mean)} channels and std {len(self.std)}: give as many of both."
            )
        whole = self.size[-2:]
        least = (self.resize,) * len(whole) if isinstance(self.resize, int) else self.resize
        if least is not None and any(a < b for a, b in zip(least, whole, strict=False)):
            raise ConfigError(
                f"resize={self.resize} is less than the crop {max(whole)}: raise it, or use None "
                "to squeeze the whole image."
            )
        if (self.pad or self.squeeze) and isinstance(self.resize, int):
            raise ConfigError(
                f"resize={self.resize} is of the short side, not for pad=True or squeeze=True: "
                f"give None, or (height, width) of at least {self.size}."
            )
        if self.pad and self.squeeze:
            raise ConfigError("pad=True keeps the proportions, and squeeze=True does not: set one.")
        if self.white is not None and not self.white > 0:
            raise ConfigError(f"white={self.white} is not above 0, which is black.")

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return len(self.mean)

    def crop(self, image: Any) -> Tensor:
        """Resizes and crops an image, without normalizing it.

        Args:
            image: a path, a Pillow image or a uint8 tensor (C, H, W); for models of videos,
                volumes and signals a path, or a tensor (C, *any), uint8 or float.

        Returns:
            (C, *size), uint8 for images.

        Raises:
            DataError: the image cannot be read.

        Example:
            >>> Preprocess((32, 32), 36).crop(torch.zeros(3, 50, 80, dtype=torch.uint8)).shape
            torch.Size([3, 32, 32])
        """
        from vitrail.data.images import to_tensor  # needs Pillow, which models do not

        if len(self.size) != 2:
            from vitrail.data.recording_inputs import fit_recording

            return fit_recording(image, self)
        size = (self.size[0], self.size[1])
        pixels = to_tensor(image, self.channels, self.white)
        if isinstance(self.resize, int):
            return center_crop(pixels, size, self.resize, self.interpolation)
        target = self.resize or size
        if self.pad:
            return padded(pixels, size, target, self.interpolation, color=self.mean)
        if self.squeeze or self.resize is None:
            return crop(resize(pixels, target, self.interpolation), size)
        return covering_crop(pixels, size, target, self.interpolation)

    def normalise(self, images: Tensor) -> Tensor:
        """Scales pixels to 0..1 and normalizes each channel.

        Args:
            images: (B, C, *size), uint8, or float in its own units.

        Returns:
            float32 (B, C, *size).

        Example:
            >>> Preprocess(mean=(0.5,), std=(0.5,)).normalise(torch.zeros(1, 1, 2, 2)).unique()
            tensor([-1.])
        """
        mean, std = self._statistics(images)
        if images.dtype != torch.uint8 or images.device.type != "cpu":
            return unit(images).sub_(mean).div_(std)
        values = torch.empty(images.shape)
        count = max(CACHED // max(images[:1].numel(), 1), 1)
        for samples, part in zip(images.split(count), values.split(count), strict=True):
            part.copy_(samples).div_(255).sub_(mean).div_(std)
        return values

    def apply(self, module: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Runs a module on normalized images. Of several parts of a recording the mean is taken.

        Args:
            module: float (B, C, *size) → (B, ...).
            images: (B, C, *size), as `crop` returns them; n parts follow each other along the first
                axis, see `Sampling`.

        Returns:
            (B, ...).

        Example:
            >>> preprocess = Preprocess((2,), None, mean=(0.0,), std=(1.0,))
            >>> preprocess.apply(lambda x: x.amax(-1), torch.tensor([[[1.0, 3.0, 4.0, 5.0]]]))
            tensor([[4.]])
        """
        images = self.normalise(images)
        parts = images.shape[2] // self.size[0]
        if len(self.size) == 2 or parts == 1:
            return module(images)
        separate = images.unflatten(2, (parts, -1)).transpose(1, 2).flatten(0, 1)
        return module(separate).unflatten(0, (-1, parts)).mean(1)

    def undo(self, images: Tensor) -> Tensor:
        """The inverse of `normalise`, for drawing.

        Args:
            images: float (B, C, H, W), normalized.

        Returns:
            uint8 (B, C, H, W).

        Example:
            >>> Preprocess(mean=(0.5,), std=(0.5,)).undo(torch.ones(1, 1, 2, 2)).unique()
            tensor([255], dtype=torch.uint8)
        """
        mean, std = self._statistics(images)
        return ((images.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def __call__(self, images: Any) -> Tensor:
        """One image or several (paths, Pillow images, uint8 (C, H, W)) → float32 (B, C, *size)."""
        if isinstance(images, Tensor) and images.ndim == len(self.size) + 2:
            images = list(images)
        images = images if isinstance(images, list | tuple) else [images]
        if not images:
            raise DataError("there are no images: give at least one.")
        return self.normalise(torch.stack([self.crop(image) for image in images]))

    @checked
    def at(self, size: tuple[int, ...]) -> "Preprocess":
        """The same preprocessing for another size, with the border cropped in proportion.

        Args:
            size: pixels per axis of the model's input.

        Returns:
            The preprocessing.

        Example:
            >>> Preprocess(size=(224, 224), resize=256).at((448, 448)).resize
            512
        """
        if self.resize is None:
            return dataclasses.replace(self, size=size)
        old, new = self.size[-2:], size[-2:]
        if isinstance(self.resize, int):
            side = round(max(new) * self.resize / max(old))
            return dataclasses.replace(self, size=size, resize=side)
        height, width = (round(n * r / o) for n, r, o in zip(new, self.resize, old, strict=True))
        return dataclasses.replace(self, size=size, resize=(height, width))

    def with_resize(self, how: Literal["crop", "pad", "squeeze"]) -> "Preprocess":
        """The same preprocessing with another way to the model's size.

        Args:
            how: "crop" cuts the center out; "pad" keeps the whole image and its proportions;
                "squeeze" keeps the whole image and changes its proportions.

        Returns:
            The preprocessing.

        Raises:
            ConfigError: there is no such way.

        Example:
            >>> Preprocess(size=(224, 224), resize=256).with_resize("pad").resize is None
            True
        """
        check_choice("resize", how, ("crop", "pad", "squeeze"))
        if how == "crop":
            resize = self.resize or round(max(self.size[-2:]) / CROP_FRACTION)
            return dataclasses.replace(self, resize=resize, pad=False, squeeze=False)
        return dataclasses.replace(self, resize=None, pad=how == "pad", squeeze=False)

    def _statistics(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(images, Tensor) or images.ndim < 2 or images.shape[1] != self.channels:
            raise DataError(
                f"{describe_value(images)} is no batch of images with {self.channels} channels: "
                f"give a tensor (batch, {self.channels}, ...)."
            )
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=images.device).view(
                -1, *[1] * (images.ndim - 2)
            )
            for values in (self.mean, self.std)
        )
        return mean, std

    @property
    def single(self) -> "Preprocess":
        """The same preprocessing with one part of each video, volume or signal."""
        return dataclasses.replace(self, sampling=dataclasses.replace(self.sampling, parts=1))

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON.

        Returns:
            Values by field.

        Example:
            >>> Preprocess().to_dict()["size"]
            (224, 224)
        """
        return dataclasses.asdict(self)

    @classmethod
    @checked
    def for_size(cls, size: tuple[int, ...], channels: PositiveInt) -> "Preprocess":
        """Preprocessing for a new model.

        Args:
            size: pixels per axis; see `Preprocess`.
            channels: number of channels. ImageNet's statistics are for three, 0.5 for others.

        Returns:
            Resizing with a border of one eighth, which the center crop cuts off.

        Example:
            >>> Preprocess.for_size((224, 224), channels=3).resize
            256
        """
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels,) * 2
        resize = round(max(size[-2:]) / CROP_FRACTION) if len(size) > 1 else None
        return cls(size, resize, "bicubic", mean, std)

    @classmethod
    @checked
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """The inverse of `to_dict`.

        Args:
            values: values by field; lists become tuples.

        Returns:
            The preprocessing.

        Raises:
            ConfigError: a value is unknown or contradicts another.

        Example:
            >>> Preprocess.from_dict({"size": [32, 32], "resize": None}).size
            (32, 32)
        """
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        if isinstance(sampling := plain.get("sampling"), Mapping):
            window = sampling.get("window")
            plain["sampling"] = Sampling(**{**sampling, "window": window and tuple(window)})
        return cls(**plain)

    @classmethod
    @checked
    def from_timm(cls, config: Mapping[str, Any]) -> "Preprocess":
        """Preprocessing of a model of timm.

        Args:
            config: timm's `pretrained_cfg`.

        Returns:
            The preprocessing.

        Example:
            >>> Preprocess.from_timm({"input_size": (3, 224, 224), "crop_pct": 0.9}).resize
            248
        """
        _, height, width = check_value(
            "input_size", config.get("input_size", (3, 224, 224)), tuple[int, int, int]
        )
        mode, crop_pct = config.get("crop_mode"), config.get("crop_pct") or CROP_FRACTION
        scaled = math.floor(height / crop_pct), math.floor(width / crop_pct)
        whole = mode in ("squash", "border")
        squared = scaled[0] if height == width else scaled
        return cls(
            (height, width),
            None if whole and scaled == (height, width) else scaled if whole else squared,
            config.get("interpolation", "bicubic"),
            tuple(config.get("mean", IMAGENET_MEAN)),
            tuple(config.get("std", IMAGENET_STD)),
            pad=mode == "border",
            squeeze=mode == "squash" and scaled != (height, width),
        )
