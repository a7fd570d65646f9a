"""Attention rollout (Abnar & Zuidema 2020, https://arxiv.org/abs/2005.00928)."""

from torch import Tensor

from vitrail.lens.trace import trace_attention
from vitrail.models.base import Backbone


def attention_rollout(model: Backbone, images: Tensor) -> Tensor:
    """Attention rollout (Abnar & Zuidema 2020) of the summary query to each patch.

    It is the same for every class: see `relevance` for one that is not.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).

    Returns:
        (B, *grid).

    Raises:
        TierError: the model has a layer that does not attend over all tokens.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> attention_rollout(model, torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2, 2])
    """
    return trace_attention(model, images).rollout
