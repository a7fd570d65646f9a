"""Occlusion (Zeiler & Fergus 2014, https://arxiv.org/abs/1311.2901), by captum."""

import math

import torch
from torch import Tensor

from vitrail.errors import ConfigError
from vitrail.lens.explanations.base import image_grid, require_classes
from vitrail.lens.explanations.pixels import require_captum, sum_over_patches
from vitrail.models.base import Backbone
from vitrail.values import PositiveInt

MOST_CELLS = 14  # per axis, unless `cells` says more: each is a forward pass


def occlusion(
    model: Backbone,
    images: Tensor,
    target: Tensor | None = None,
    cells: PositiveInt | None = None,
) -> Tensor:
    """Occlusion: by how much the logit falls when a cell of the image has the mean color.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        target: indices of classes (B,); None for the likeliest.
        cells: number of cells per axis, a divisor of the pixels. None: the patches of the model's
            grid, or where these are more than 14, the largest divisor up to 14.

    Returns:
        (B, *cells), with the digits of float32; negative where the logit rises without the cell.

    Raises:
        TierError: the model has no classes.
        ConfigError: `cells` does not divide the image, or captum is not installed.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> occlusion(model, torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2, 2])
    """
    require_classes(model)
    require_captum()
    from captum.attr import Occlusion

    size = tuple(images.shape[2:])
    grid = tuple(
        _divisor(side, patches) if cells is None else cells
        for side, patches in zip(size, image_grid(model, images), strict=True)
    )
    if any(side % count for side, count in zip(size, grid, strict=True)):
        shape = " x ".join(map(str, size))
        raise ConfigError(f"cells={cells} does not divide an image of {shape} pixels.")
    window = (images.shape[1], *(side // count for side, count in zip(size, grid, strict=True)))
    with torch.no_grad():
        index = model(images).argmax(dim=1) if target is None else target
        falls = Occlusion(model).attribute(
            images, window, strides=window, target=index, perturbations_per_eval=4
        )
    return sum_over_patches(falls.to(images.dtype), grid) / math.prod(window)


def _divisor(side: int, patches: int) -> int:
    """The largest divisor of a side's pixels up to the number of patches and to `MOST_CELLS`."""
    return next(n for n in range(min(patches, MOST_CELLS), 0, -1) if side % n == 0)
