"""Relevance through all layers (Chefer, Gur & Wolf 2021, https://arxiv.org/abs/2103.15679)."""

from torch import Tensor

from vitrail.lens.explanations.contributions import contributions
from vitrail.lens.explanations.windows import is_windowed
from vitrail.models.base import Backbone


def relevance(model: Backbone, images: Tensor, target: Tensor | None = None) -> Tensor:
    """Relevance of each patch to a class (Chefer et al. 2021, the rule for self-attention).

    Each layer adds Ā R to the relevance R between tokens, where Ā is the mean over heads of
    (∂s/∂A ⊙ A)⁺ and R starts as the identity. The map is the row of R by which the logit s is read:
    that of the class token, or the mean over patches where these are pooled, less the identity. In
    Vision Mamba, the matrix of each channel of a scan is a head.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        target: indices of classes (B,); None for the likeliest.

    Returns:
        (B, *grid), at least 0.

    Raises:
        TierError: the model has no classes, or a layer that does not attend over all tokens.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> relevance(model, torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2, 2])
    """
    maps = contributions(model, images, target)
    windowed = is_windowed(model)
    maps.require_all_tokens(
        "attention_gradient, grad_cam or occlusion" if windowed else "occlusion"
    )
    row = maps.readout.unsqueeze(1)
    for layer in reversed(maps.layers):
        row = row + row @ layer
    relevant = row.squeeze(1) - maps.readout  # without the identity, a token's relevance to itself
    return relevant[:, maps.prefix :].unflatten(1, maps.grid)
