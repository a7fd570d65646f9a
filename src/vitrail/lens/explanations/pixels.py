"""What the explanations of pixels share: captum's methods, and sums over patches."""

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError, how_to_install

MEANS: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}


def require_captum() -> None:
    """Checks that captum is installed.

    Raises:
        ConfigError: it is not.

    Example:
        >>> require_captum()
    """
    try:
        import captum.attr  # noqa: F401
    except ImportError:
        raise ConfigError(f"this explanation needs captum: {how_to_install('captum')}") from None


def sum_over_patches(pixels: Tensor, grid: tuple[int, ...]) -> Tensor:
    """The sums of an attribution over the cells of a grid.

    Args:
        pixels: attribution of each value (B, C, *size).
        grid: cells per axis.

    Returns:
        (B, *grid).

    Example:
        >>> sum_over_patches(torch.ones(1, 3, 4, 4), (2, 2))
        tensor([[[12., 12.],
                 [12., 12.]]])
    """
    per_pixel = pixels.sum(dim=1, keepdim=True)
    means = MEANS[len(grid)](per_pixel, grid)
    return means.squeeze(1) * (math.prod(per_pixel.shape[2:]) / math.prod(grid))
