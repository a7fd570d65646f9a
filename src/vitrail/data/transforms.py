"""Random views for training, a whole batch at a time on the device it is on.

A view is a pure function of (images, labels, seed): it draws from generators of its own.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from vitrail.preprocess import Preprocess
from vitrail.errors import ConfigError, check_choice

KORNIA = 0x5DEECE66D  # sets kornia's draws apart from ours, which start from the same seed


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """What to do to training images. Zero turns a thing off.

    crop: "resized" takes `scale` of the area at `ratio` and resizes it; "padded" shifts by up to
    `padding` pixels; "none". flip: probability. randaugment: operations an image (Cubuk et al.
    2019, https://arxiv.org/abs/1909.13719) of `magnitude` 0..30. jitter: of brightness, contrast
    and saturation; hue: of that, up to 0.5; both with probability jittered. grayscale, blur,
    solarize: probabilities. erasing: that of a random rectangle
    (https://arxiv.org/abs/1708.04896). mixup, cutmix: their α (https://arxiv.org/abs/1710.09412,
    https://arxiv.org/abs/1905.04899); with both, a coin is tossed for each batch.
    """

    crop: str = "resized"
    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    padding: int = 4
    flip: float = 0.5
    randaugment: int = 0
    magnitude: int = 9
    jitter: float = 0.0
    hue: float = 0.0
    jittered: float = 1.0
    grayscale: float = 0.0
    blur: float = 0.0
    solarize: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        check_choice("data.views.crop", self.crop, ("resized", "padded", "none"))
        for name in ("flip", "jittered", "grayscale", "blur", "solarize", "erasing"):
            _check_probability(f"data.views.{name}", getattr(self, name))
        for name in ("mixup", "cutmix", "jitter", "padding", "randaugment"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"data.views.{name}={getattr(self, name)} is negative: use 0 or more."
                )
        if not 0 <= self.magnitude <= 30:
            raise ConfigError(f"data.views.magnitude={self.magnitude} is not within 0 to 30.")
        if not 0 <= self.hue <= 0.5:
            raise ConfigError(f"data.views.hue={self.hue} is not within 0 to 0.5.")
        _check_areas("data.views.scale", self.scale)


@dataclasses.dataclass(frozen=True)
class MultiCropConfig:
    """Several crops of each image, for methods that compare them: two global ones, then local.

    local: how many of these. local_size: their pixels; None for 3/7 of the model's, which is 96 of
    224, rounded to whole patches. global_scale, local_scale: parts of the image's area. blur,
    solarize: probabilities for the first global crop, the second and the local ones.
    """

    local: int = 6
    local_size: int | tuple[int, int] | None = None
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.4)
    blur: tuple[float, float, float] = (1.0, 0.1, 0.5)
    solarize: tuple[float, float, float] = (0.0, 0.2, 0.0)

    def __post_init__(self) -> None:
        if self.local < 0:
            raise ConfigError(f"data.crops.local={self.local} is negative: use 0 or more.")
        sizes = self.local_size if isinstance(self.local_size, tuple) else (self.local_size,)
        if any(size is not None and size < 1 for size in sizes):
            raise ConfigError(f"data.crops.local_size={self.local_size} is no number of pixels.")
        for name in ("global_scale", "local_scale"):
            _check_areas(f"data.crops.{name}", getattr(self, name))
        for name in ("blur", "solarize"):
            for probability in getattr(self, name):
                _check_probability(f"data.crops.{name}", probability)

    def local_pixels(self, size: tuple[int, int], cell: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) of local crops beside global ones of `size`, in whole cells."""
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
        raise ConfigError(f"{name}={value} is no probability: 0 to 1.")


def _check_areas(name: str, scale: tuple[float, float]) -> None:
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ConfigError(f"{name}={scale} is no range of areas within 0 to 1.")


class TrainTransform:
    """Random views of a batch: (uint8 images, labels) → (normalised images, targets)."""

    def __init__(self, config: AugmentConfig, preprocess: Preprocess, num_classes: int) -> None:
        self.config, self.preprocess, self.num_classes = config, preprocess, num_classes
        self.colours = _kornia_ops(config, preprocess.size)

    def __call__(
        self, images: Tensor, labels: Tensor, sizes: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        """images uint8 (B, C, h, w), labels (B,), original sizes (B, 2) →
        float (B, C, *size) and targets: (B,), or (B, classes) where images were mixed."""
        config = self.config
        draw = torch.Generator(images.device).manual_seed(seed)
        if config.crop == "padded":
            images = shift(images, config.padding, draw)
        if config.crop == "resized":
            x = random_resized_crop(images.float() / 255, sizes, self.preprocess.size, config, draw)
        else:
            x = images.float() / 255
            if x.shape[2:] != torch.Size(self.preprocess.size):
                x = F.interpolate(x, self.preprocess.size, mode="bilinear", antialias=True)
        x = flip(x, config.flip, draw)
        if self.colours is not None:
            x = _with_kornia(self.colours, x, seed)
        mean, std = self.preprocess._statistics(x)
        return mix((x - mean) / std, labels, self.num_classes, config, draw)


class MultiCrop:
    """Several random crops of each image of a batch, as DINO compares them (Caron et al. 2021,
    https://arxiv.org/abs/2104.14294).

    Flips and colours are those of `views`; how large a crop is, and how often blurred or solarised,
    `crops` says. `cell`: pixels of a patch, or of a place of a pyramid's last grid, which the size
    of local crops is rounded to.
    """

    def __init__(
        self,
        views: AugmentConfig,
        crops: MultiCropConfig,
        preprocess: Preprocess,
        cell: tuple[int, ...] = (1, 1),
    ) -> None:
        for name, only in (("crop", "resized"), ("mixup", 0), ("cutmix", 0)):
            if getattr(views, name) != only:
                raise ConfigError(
                    f"data.views.{name}={getattr(views, name)!r} cannot be had with several crops "
                    f"of an image: set it to {only}."
                )
        for name in ("blur", "solarize"):
            if getattr(views, name):
                raise ConfigError(f"several crops are made: set data.crops.{name}, one for each.")
        self.preprocess = preprocess
        local = crops.local_pixels(preprocess.size, cell)
        # Of each kind of crops: how many, of which size, and how they are made.
        self.kinds: list[tuple[int, tuple[int, int], AugmentConfig, nn.Module | None]] = []
        for kind, (count, size, scale) in enumerate(
            (
                (1, preprocess.size, crops.global_scale),
                (1, preprocess.size, crops.global_scale),
                (crops.local, local, crops.local_scale),
            )
        ):
            config = dataclasses.replace(
                views, scale=scale, blur=crops.blur[kind], solarize=crops.solarize[kind]
            )
            self.kinds.append((count, size, config, _kornia_ops(config, size)))

    def __call__(
        self, images: Tensor, labels: Tensor, sizes: Tensor, seed: int
    ) -> tuple[list[Tensor], Tensor]:
        """images uint8 (B, C, h, w), labels (B,), original sizes (B, 2) → crops, float: two of
        (B, C, *size), then `local` of (B, C, *local_size); and the labels."""
        draw = torch.Generator(images.device).manual_seed(seed)
        x = images.float() / 255
        mean, std = self.preprocess._statistics(x)
        crops: list[Tensor] = []
        for kind, (count, size, config, colours) in enumerate(self.kinds):
            if not count:
                continue
            cut = [random_resized_crop(x, sizes, size, config, draw) for _ in range(count)]
            made = flip(torch.cat(cut), config.flip, draw)
            if colours is not None:
                made = _with_kornia(colours, made, seed + kind)
            crops.extend(((made - mean) / std).chunk(count))
        return crops, labels


def flip(x: Tensor, probability: float, draw: Generator) -> Tensor:
    """Each image (B, C, H, W) mirrored with that probability."""
    if not probability:
        return x
    flipped = torch.rand(len(x), generator=draw, device=x.device) < probability
    return torch.where(flipped[:, None, None, None], x.flip(-1), x)


def shift(images: Tensor, padding: int, draw: Generator) -> Tensor:
    """Each image moved by up to `padding` pixels, zeros coming in. Any dtype (B, C, H, W)."""
    batch, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    offsets = torch.randint(2 * padding + 1, (2, batch, 1), generator=draw, device=images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    which = torch.arange(batch, device=images.device)[:, None, None]
    return padded.transpose(1, 3)[which, columns[:, :, None], rows[:, None, :]].transpose(1, 3)


def random_resized_crop(
    images: Tensor, sizes: Tensor, out: tuple[int, int], config: AugmentConfig, draw: Generator
) -> Tensor:
    """A random rectangle of each image, resized (Szegedy et al. 2014,
    https://arxiv.org/abs/1409.4842).

    Areas and aspect ratios are those of the original images (`sizes`), whatever square canvas
    they were squeezed onto, so shapes come out undistorted but for `ratio` itself. A rectangle
    that does not fit is shrunk to fit, where others draw again: no draw depends on another.
    """
    batch = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, generator=draw, device=images.device)

    height, width = sizes.to(images.device, torch.float32).unbind(1)
    area = uniform(*config.scale) * height * width
    aspect = uniform(math.log(config.ratio[0]), math.log(config.ratio[1])).exp()
    fraction_w = (area * aspect).sqrt() / width
    fraction_h = (area / aspect).sqrt() / height
    over = torch.maximum(fraction_w, fraction_h).clamp(min=1.0)  # both sides shrink, as a whole
    fraction_w, fraction_h = fraction_w / over, fraction_h / over
    # affine_grid's coordinates run from -1 to 1 over the canvas.
    centre_x = uniform(-1, 1) * (1 - fraction_w)
    centre_y = uniform(-1, 1) * (1 - fraction_h)
    zero = torch.zeros_like(area)
    theta = torch.stack(
        [
            torch.stack([fraction_w, zero, centre_x], 1),
            torch.stack([zero, fraction_h, centre_y], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, [batch, images.shape[1], *out], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def mix(
    x: Tensor, labels: Tensor, num_classes: int, config: AugmentConfig, draw: Generator
) -> tuple[Tensor, Tensor]:
    """Mixup or CutMix with the batch reversed; λ ~ Beta(α, α) as in the papers, one a batch."""
    if not (config.mixup or config.cutmix):
        return x, labels
    toss = torch.rand((), generator=draw, device=x.device).item() < 0.5
    cut = bool(config.cutmix) and (not config.mixup or toss)
    alpha = config.cutmix if cut else config.mixup
    gammas = torch._standard_gamma(torch.full((2,), alpha, device=x.device), generator=draw)
    weight = (gammas[0] / gammas.sum()).item()
    if cut:
        height, width = x.shape[2:]
        side = math.sqrt(1 - weight)
        places = torch.rand(2, generator=draw, device=x.device).tolist()
        box = [
            (max(round(n * (c - side / 2)), 0), min(round(n * (c + side / 2)), n))
            for n, c in zip((height, width), places, strict=True)
        ]
        (top, bottom), (left, right) = box
        mixed = x.clone()
        mixed[:, :, top:bottom, left:right] = x.flip(0)[:, :, top:bottom, left:right]
        weight = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        mixed = x.lerp(x.flip(0), 1 - weight)
    targets = F.one_hot(labels, num_classes).to(x.dtype)
    return mixed, targets.lerp(targets.flip(0), 1 - weight)


def _kornia_ops(config: AugmentConfig, size: tuple[int, int]) -> nn.Module | None:
    """The operations that kornia does to images of that size, or None."""
    jitter = config.jittered and (config.jitter or config.hue)
    wanted = jitter, config.grayscale, config.blur, config.solarize, config.erasing
    if not (config.randaugment or any(wanted)):
        return None
    import kornia.augmentation as K
    from kornia.augmentation.auto import RandAugment

    ops: list[nn.Module] = []
    if config.randaugment:
        ops.append(RandAugment(n=config.randaugment, m=config.magnitude))
    if jitter:
        amount = config.jitter
        ops.append(K.ColorJitter(amount, amount, amount, config.hue, p=config.jittered))
    if config.grayscale:
        ops.append(K.RandomGrayscale(p=config.grayscale))
    if config.blur:
        # DINO's radius, which is a deviation of 0.1 to 2 pixels; less for pictures of few pixels.
        most = max(min(2.0, min(size) / 32), 0.1)
        kernel = 2 * math.ceil(3 * most) + 1
        ops.append(
            K.RandomGaussianBlur(kernel, (0.1, most), p=config.blur, border_type="replicate")
        )
    if config.solarize:
        ops.append(K.RandomSolarize(thresholds=0.0, additions=0.0, p=config.solarize))
    if config.erasing:
        ops.append(K.RandomErasing(p=config.erasing, scale=(0.02, 1 / 3), ratio=(0.3, 3.3)))
    return nn.Sequential(*ops)


def _with_kornia(ops: nn.Module, x: Tensor, seed: int) -> Tensor:
    """Runs kornia, which draws from the global generator, without moving that generator."""
    channels = x.shape[1]
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.manual_seed(seed ^ KORNIA)
        # Colours are defined on three channels; grey is three alike.
        x = ops(x.expand(-1, 3, -1, -1) if channels == 1 else x)
    return x.mean(1, keepdim=True) if channels == 1 else x
