"""Integrated gradients (Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365), by captum."""

import torch
from torch import Tensor

from vitrail.lens.explanations.base import image_grid, require_classes
from vitrail.lens.explanations.pixels import require_captum, sum_over_patches
from vitrail.models.base import Backbone
from vitrail.values import PositiveInt


def integrated_gradients(
    model: Backbone, images: Tensor, target: Tensor | None = None, steps: PositiveInt = 32
) -> Tensor:
    """Integrated gradients: (x - x₀) times the gradient of the logit, averaged from x₀ to x.

    The baseline x₀ is the mean color, which is 0 in a normalized image. The sum of a map is the
    logit of the image less that of the baseline, up to the error of the average.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        target: indices of classes (B,); None for the likeliest.
        steps: number of images between baseline and image.

    Returns:
        (B, *grid), the sum over the pixels of each patch; negative where a patch speaks against
        the class.

    Raises:
        TierError: the model has no classes.
        ConfigError: captum is not installed.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> integrated_gradients(model, torch.zeros(1, 3, 8, 8)).sum()
        tensor(0.)
    """
    require_classes(model)
    require_captum()
    from captum.attr import IntegratedGradients

    index = model(images).detach().argmax(dim=1) if target is None else target
    # One image after the other: captum would hold `steps` copies of the whole batch.
    attribute = IntegratedGradients(model).attribute
    maps = [
        attribute(image[None], target=label, n_steps=steps, internal_batch_size=8)
        for image, label in zip(images.detach(), index.tolist(), strict=True)
    ]
    return sum_over_patches(torch.cat(maps).to(images.dtype), image_grid(model, images))
