"""The logit lens (nostalgebraist 2020), per patch and per layer.

https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import TierError
from vitrail.lens.explanations.base import require_classes, require_image_grid
from vitrail.lens.explanations.contributions import target_logits
from vitrail.models.base import Backbone


def patch_logits(
    model: Backbone, images: Tensor, target: Tensor | None = None, layer: int = -1
) -> Tensor:
    """The probability of a class in each patch: the model's head applied to the patch alone.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        target: indices of classes (B,); None for the likeliest of the whole image.
        layer: index of the block after which patches are read; negative ones count from the end.

    Returns:
        (B, *grid).

    Raises:
        ConfigError: there is no such block.
        TierError: the model has no classes, or its head reads another width than a patch has.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> patch_logits(model, torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2, 2])
    """
    require_classes(model)
    with torch.no_grad():
        index = model(images).argmax(dim=1) if target is None else target
        (features,) = model.intermediates(images, [layer], norm=True)
        require_image_grid(model, features)
        _require_width(model, features.patches.shape[-1])
        patches = features.to_map().flatten(0, -2)  # heads may have norms of two axes
        probabilities = model.outputs.activate(model.head(patches))
        targets = index.repeat_interleave(features.patches.shape[1])
        return target_logits(probabilities, targets).view(len(images), *features.grid)


@checked
def logit_lens(
    model: Backbone, images: Tensor, layers: int | Sequence[int] | None = None
) -> Tensor:
    """What the model would answer after each block: the last norm and the head, on its features.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        layers: indices of blocks; negative ones count from the end. A number n stands for the last
            n, None for all.

    Returns:
        Logits (layers, B, classes). Those of the last block are the model's.

    Raises:
        ConfigError: there is no such block.
        TierError: the model has no classes, blocks of several widths, or a class token that enters
            after the blocks.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=3, heads=2, mlp_dim=8).eval()
        >>> logit_lens(model, torch.zeros(1, 3, 8, 8)).shape
        torch.Size([3, 1, 2])
    """
    require_classes(model)
    with torch.no_grad():
        stages = model.intermediates(images, layers, norm=True)
        try:
            pooled = [model.pool(features) for features in stages]
        except IndexError:  # of an empty prefix
            raise TierError(
                f"the class token of this {type(model).__name__} enters after the blocks, so its "
                "head has nothing to read before."
            ) from None
        return torch.stack([model.head(each) for each in pooled])


def _require_width(model: Backbone, width: int) -> None:
    if width != model.pooled_dim:
        raise TierError(
            f"a patch has {width} channels, and the head of this {type(model).__name__} reads "
            f"{model.pooled_dim}: use grad_cam."
        )
