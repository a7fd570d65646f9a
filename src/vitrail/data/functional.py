"""Random operations on batches of images, clips, volumes or signals."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def flip(x: Tensor, probability: float, generator: Generator, axis: int = -1) -> Tensor:
    """Flips each sample along an axis with a probability.

    Args:
        x: (B, C, *size).
        probability: of a flip.
        generator: source of the draws.
        axis: the axis of `x`; the last one is the width.

    Returns:
        (B, C, *size).

    Example:
        >>> flip(torch.tensor([[[1, 2]]]), 1.0, torch.Generator())
        tensor([[[2, 1]]])
    """
    if not probability:
        return x
    flipped = torch.rand(len(x), generator=generator, device=x.device) < probability
    return torch.where(flipped.view(-1, *[1] * (x.ndim - 1)), x.flip(axis), x)


def shift(images: Tensor, padding: int, generator: Generator) -> Tensor:
    """Shifts each sample by a random number of pixels; zeros come in.

    All frames of a clip and all slices of a volume are shifted alike; a signal is shifted in time.

    Args:
        images: (B, C, H, W), (B, C, T, H, W) or (B, C, L), of any dtype.
        padding: greatest shift in each direction.
        generator: source of the draws.

    Returns:
        The same shape.

    Example:
        >>> shift(torch.ones(2, 1, 4, 4), 1, torch.Generator()).shape
        torch.Size([2, 1, 4, 4])
    """
    if images.ndim != 4:
        return shift(_flat(images), padding, generator).reshape(images.shape)
    batch, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    offsets = torch.randint(
        2 * padding + 1, (2, batch, 1), generator=generator, device=images.device
    )
    if height == 1:  # a signal
        offsets[0] = padding
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    index = torch.arange(batch, device=images.device)[:, None, None]
    return padded.transpose(1, 3)[index, columns[:, :, None], rows[:, None, :]].transpose(1, 3)


def _flat(samples: Tensor) -> Tensor:
    """Clips and volumes (B, C, T, H, W) → (B, C · T, H, W); signals (B, C, L) → (B, C, 1, L)."""
    return samples[:, :, None] if samples.ndim == 3 else samples.flatten(1, 2)


def random_resized_crop(
    images: Tensor,
    sizes: Tensor,
    out: tuple[int, ...],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: Generator,
) -> Tensor:
    """Cuts a random rectangle of each image and resizes it (Szegedy et al. 2014,
    https://arxiv.org/abs/1409.4842).

    Areas and aspect ratios are those of the original images, whatever square canvas they were
    squeezed onto, so shapes are distorted by `ratio` only. A rectangle that does not fit is shrunk,
    where other libraries draw again; so no draw depends on another.

    Of a clip or a volume the same rectangle is cut of each frame or slice; of a signal a segment,
    whatever `ratio`.

    Args:
        images: float (B, C, h, w), (B, C, T, h, w) or (B, C, l).
        sizes: (B, axes), the sizes of the original samples.
        out: size of the result, with the number of frames or slices as it is.
        scale: least and greatest area, as a fraction of the image's.
        ratio: least and greatest width / height.
        generator: source of the draws.

    Returns:
        float (B, C, *out).

    Example:
        >>> images, sizes = torch.zeros(2, 3, 8, 8), torch.full((2, 2), 8)
        >>> random_resized_crop(images, sizes, (4, 6), (0.5, 1), (1, 2), torch.Generator()).shape
        torch.Size([2, 3, 4, 6])
    """
    if images.ndim != 4:
        sides = sizes[:, -2:] if images.ndim == 5 else F.pad(sizes, (1, 0), value=1)
        size = out[-2:] if images.ndim == 5 else (1, *out)
        crops = random_resized_crop(_flat(images), sides, size, scale, ratio, generator)
        return crops.reshape(*images.shape[:2], *out)
    batch = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, generator=generator, device=images.device)

    height, width = sizes.to(images.device, torch.float32).unbind(1)
    area = uniform(*scale) * height * width
    aspect = uniform(math.log(ratio[0]), math.log(ratio[1])).exp()
    fraction_w = (area * aspect).sqrt() / width
    fraction_h = (area / aspect).sqrt() / height
    if out[0] == images.shape[2] == 1:  # a signal
        fraction_w, fraction_h = area / width, torch.ones_like(area)
    excess = torch.maximum(fraction_w, fraction_h).clamp(min=1.0)  # both sides shrink by it
    fraction_w, fraction_h = fraction_w / excess, fraction_h / excess
    # affine_grid's coordinates run from -1 to 1 over the canvas.
    center_x = uniform(-1, 1) * (1 - fraction_w)
    center_y = uniform(-1, 1) * (1 - fraction_h)
    zero = torch.zeros_like(area)
    theta = torch.stack(
        [
            torch.stack([fraction_w, zero, center_x], 1),
            torch.stack([zero, fraction_h, center_y], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, [batch, images.shape[1], *out], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def mix(
    x: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    mixup: float,
    cutmix: float,
    generator: Generator,
) -> tuple[Tensor, Tensor]:
    """Mixup or CutMix of a batch with itself reversed; one λ ~ Beta(α, α) per batch.

    CutMix takes the same rectangle of all frames of a clip.

    Args:
        x: float (B, C, *size).
        labels: (B,), class indices, or float (B, K).
        num_classes: number of classes.
        mixup: α of mixup (Zhang et al. 2017, https://arxiv.org/abs/1710.09412); 0 for none.
        cutmix: α of CutMix (Yun et al. 2019, https://arxiv.org/abs/1905.04899); 0 for none. With
            both, each batch gets one of them, with equal probability.
        generator: source of the draws.

    Returns:
        x: float (B, C, *size).
        labels: as they were if nothing is mixed, else class probabilities (B, classes).

    Example:
        >>> x, labels = torch.zeros(2, 3, 4, 4), torch.tensor([0, 1])
        >>> mix(x, labels, 2, mixup=1.0, cutmix=0.0, generator=torch.Generator())[1].sum(1)
        tensor([1., 1.])
    """
    if not (mixup or cutmix):
        return x, labels
    coin = torch.rand((), generator=generator, device=x.device).item() < 0.5
    cut = bool(cutmix) and (not mixup or coin)
    weight = _beta(cutmix if cut else mixup, generator)
    if cut:
        height, width = x.shape[-2:]
        side = math.sqrt(1 - weight)
        center = torch.rand(2, generator=generator, device=x.device).tolist()
        box = [
            (max(round(n * (c - side / 2)), 0), min(round(n * (c + side / 2)), n))
            for n, c in zip((height, width), center, strict=True)
        ]
        (top, bottom), (left, right) = box
        mixed = x.clone()
        mixed[..., top:bottom, left:right] = x.flip(0)[..., top:bottom, left:right]
        weight = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        mixed = x.lerp(x.flip(0), 1 - weight)
    targets = labels if labels.ndim == 2 else F.one_hot(labels, num_classes).to(x.dtype)
    return mixed, targets.lerp(targets.flip(0), 1 - weight)


def _beta(alpha: float, generator: Generator) -> float:
    """A draw from Beta(alpha, alpha). torch's own distribution uses the global generator."""
    import numpy as np

    seed = torch.randint(2**62, (), generator=generator, device=generator.device).item()
    return float(np.random.default_rng(int(seed)).beta(alpha, alpha))
