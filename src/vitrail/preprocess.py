"""What happens to an image before a model sees it. Stored with every model."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError, DataError, check_choice

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PILLOW_FILTERS = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers for them


def resize(image: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """uint8 (C, H, W) → uint8 (C, *size), antialiased as Pillow does it."""
    if image.shape[1:] == torch.Size(size):
        return image
    if interpolation == "nearest":
        return F.interpolate(image[None], size, mode="nearest-exact")[0]
    pixels = F.interpolate(image[None].float(), size, mode=interpolation, antialias=True)[0]
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Resize, centre crop, scale to 0..1, normalise.

    size: (height, width) the model gets. resize: the short side before the centre crop, in
    pixels; None squeezes the image straight to `size`. mean, std: of each channel, on 0..1.
    """

    size: tuple[int, int] = (224, 224)
    resize: int | None = 256
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        check_choice("interpolation", self.interpolation, tuple(PILLOW_FILTERS.values()))
        if len(self.mean) != len(self.std):
            raise ConfigError(f"mean has {len(self.mean)} channels and std {len(self.std)}.")
        if self.resize is not None and self.resize < max(self.size):
            raise ConfigError(
                f"resize={self.resize} is less than the crop {max(self.size)}: raise it, or use "
                "None to squeeze the whole image."
            )

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return len(self.mean)

    def crop(self, image: Any) -> Tensor:
        """A path, Pillow image or uint8 (C, H, W) → uint8 (C, *size), not yet normalised."""
        from vitrail.data.images import to_tensor  # needs Pillow, which models do not

        if len(self.size) != 2:
            raise DataError(
                f"inputs of shape {self.size} are not flat images: give float tensors "
                f"(batch, {self.channels}, {', '.join(map(str, self.size))}) to the model itself."
            )
        pixels = to_tensor(image, self.channels)
        if self.resize is None:
            return resize(pixels, self.size, self.interpolation)
        height, width = pixels.shape[1:]
        scale = self.resize / min(height, width)
        larger = (max(round(height * scale), self.size[0]), max(round(width * scale), self.size[1]))
        pixels = resize(pixels, larger, self.interpolation)
        top, left = ((have - want) // 2 for have, want in zip(larger, self.size, strict=True))
        return pixels[:, top : top + self.size[0], left : left + self.size[1]]

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) → float32, mean 0 and standard deviation 1 over the training set."""
        mean, std = self._statistics(images)
        return (images.float() / 255 - mean) / std

    def undo(self, images: Tensor) -> Tensor:
        """float (B, C, H, W) → uint8, for drawing: the inverse of `normalise`."""
        mean, std = self._statistics(images)
        return ((images.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def __call__(self, images: Any) -> Tensor:
        """One image or a list: paths, Pillow images, uint8 (C, H, W) → float32 (B, C, *size)."""
        if isinstance(images, Tensor) and images.ndim == 4:
            images = list(images)
        images = images if isinstance(images, list | tuple) else [images]
        if not images:
            raise DataError("no images were given.")
        return self.normalise(torch.stack([self.crop(image) for image in images]))

    def at(self, size: tuple[int, int]) -> "Preprocess":
        """The same for another size, with the border that is cut off in proportion."""
        if self.resize is None:
            return dataclasses.replace(self, size=size)
        return dataclasses.replace(
            self, size=size, resize=round(max(size) * self.resize / max(self.size))
        )

    def _statistics(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=images.device)[:, None, None]
            for values in (self.mean, self.std)
        )
        return mean, std

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def for_size(cls, size: tuple[int, ...], channels: int) -> "Preprocess":
        """Preprocessing for a new model.

        Args:
            size: pixels per axis. Other than two axes are for signals and videos, which are not
                resized here.
            channels: number of channels. ImageNet's statistics are for three, 0.5 for others.

        Returns:
            Resizing with a border of one eighth, which the centre crop cuts off.
        """
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels,) * 2
        resize = round(max(size) / 0.875) if len(size) == 2 else None
        return cls(size, resize, "bicubic", mean, std)  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """The inverse of `to_dict`; lists become tuples."""
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**plain)

    @classmethod
    def from_timm(cls, config: Mapping[str, Any]) -> "Preprocess":
        """From timm's `pretrained_cfg`."""
        _, height, width = config.get("input_size", (3, 224, 224))
        squeeze = config.get("crop_mode", "center") == "squash"
        resized = int(max(height, width) / config.get("crop_pct", 0.875))
        return cls(
            (height, width),
            None if squeeze else resized,
            config.get("interpolation", "bicubic"),
            tuple(config.get("mean", IMAGENET_MEAN)),
            tuple(config.get("std", IMAGENET_STD)),
        )

    @classmethod
    def from_transformers(cls, config: Mapping[str, Any]) -> "Preprocess":
        """From transformers' preprocessor_config.json: ViT squeezes, DeiT and DINOv2 crop.

        ConvNeXt's, which CvT uses, crops a part of small images and squeezes large ones.
        """
        given = config.get("size", 224)
        given = {"height": given, "width": given} if isinstance(given, int) else given
        crop = config.get("crop_size") if config.get("do_center_crop") else None
        if crop is not None:
            crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
            short = given.get("shortest_edge") or min(given["height"], given["width"])
            size, resized = (crop["height"], crop["width"]), short
        else:
            side = given.get("shortest_edge")
            size = (side, side) if side else (given["height"], given["width"])
            resized = side
            if side and "crop_pct" in config:
                resized = int(side / config["crop_pct"]) if side < 384 else None
        # MobileViT's, which alone turns the channels round, leaves them on 0..1.
        normalised = config.get("do_normalize", "do_flip_channel_order" not in config)
        return cls(
            size,
            resized,
            PILLOW_FILTERS.get(config.get("resample", 3), "bicubic"),
            tuple(config.get("image_mean", IMAGENET_MEAN)) if normalised else (0.0,) * 3,
            tuple(config.get("image_std", IMAGENET_STD)) if normalised else (1.0,) * 3,
        )
