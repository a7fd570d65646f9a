"""Random views for training, a whole batch at a time on the device it is on.

A view is a pure function of (images, labels, seed): it draws from generators of its own.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from vitrail.data.preprocess import Preprocess
from vitrail.errors import ConfigError, check_choice

KORNIA = 0x5DEECE66D  # sets kornia's draws apart from ours, which start from the same seed


@dataclasses.dataclass(frozen=True)
class ViewConfig:
    """What to do to training images. Zero turns a thing off.

    crop: "resized" takes `scale` of the area at `ratio` and resizes it; "padded" shifts by up to
    `padding` pixels; "none". flip: probability. randaugment: operations an image (Cubuk et al.
    2019, https://arxiv.org/abs/1909.13719) of `magnitude` 0..30. jitter: of brightness, contrast
    and saturation. erasing: probability of a random rectangle (https://arxiv.org/abs/1708.04896).
    mixup, cutmix: their α (https://arxiv.org/abs/1710.09412, https://arxiv.org/abs/1905.04899);
    with both, a coin is tossed for each batch.
    """

    crop: str = "resized"
    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    padding: int = 4
    flip: float = 0.5
    randaugment: int = 0
    magnitude: int = 9
    jitter: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        check_choice("data.views.crop", self.crop, ("resized", "padded", "none"))
        for name in ("flip", "erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"data.views.{name}={getattr(self, name)} is no probability: 0 to 1."
                )
        for name in ("mixup", "cutmix", "jitter", "padding", "randaugment"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"data.views.{name}={getattr(self, name)} is negative: use 0 or more."
                )
        if not 0 <= self.magnitude <= 30:
            raise ConfigError(f"data.views.magnitude={self.magnitude} is not within 0 to 30.")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError(f"data.views.scale={self.scale} is no range of areas within 0 to 1.")


class TrainViews:
    """Random views of a batch: (uint8 images, labels) → (normalised images, targets)."""

    def __init__(self, config: ViewConfig, preprocess: Preprocess, num_classes: int) -> None:
        self.config, self.preprocess, self.num_classes = config, preprocess, num_classes
        self.colours = _kornia_ops(config)

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
        if config.flip:
            flipped = torch.rand(len(x), generator=draw, device=x.device) < config.flip
            x = torch.where(flipped[:, None, None, None], x.flip(-1), x)
        if self.colours is not None:
            x = _with_kornia(self.colours, x, seed)
        mean, std = self.preprocess._statistics(x)
        return mix((x - mean) / std, labels, self.num_classes, config, draw)


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
    images: Tensor, sizes: Tensor, out: tuple[int, int], config: ViewConfig, draw: Generator
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
    x: Tensor, labels: Tensor, num_classes: int, config: ViewConfig, draw: Generator
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


def _kornia_ops(config: ViewConfig) -> nn.Module | None:
    """The operations that kornia does, or None."""
    if not (config.randaugment or config.jitter or config.erasing):
        return None
    import kornia.augmentation as K
    from kornia.augmentation.auto import RandAugment

    ops: list[nn.Module] = []
    if config.randaugment:
        ops.append(RandAugment(n=config.randaugment, m=config.magnitude))
    if config.jitter:
        ops.append(K.ColorJitter(config.jitter, config.jitter, config.jitter, p=1.0))
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
