"""The randomization check: whether a map depends on what the model has learned."""

import copy
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from vitrail.arguments import Axes, checked
from vitrail.errors import ConfigError
from vitrail.lens.explanations.base import explain, explains_classes, require_classes
from vitrail.models.base import Backbone
from vitrail.values import NonNegativeInt

Maps = Annotated[Tensor, Axes(2, 3, 4)]


@checked
def randomization_check(
    model: Backbone,
    images: Tensor,
    explanation: str,
    target: int | str | Sequence[int | str] | None = None,
    *,
    seed: NonNegativeInt = 0,
    **settings: Any,
) -> Tensor:
    """The check of Adebayo et al. 2018 (https://arxiv.org/abs/1810.03292): random weights.

    An explanation that draws the same map for a model with random weights tells nothing of what the
    model has learned. Edges of the image are a usual cause, and in a Mamba the order of the scan.

    Args:
        model: the model, which is left as it is.
        images: normalized images (B, C, *size).
        explanation: name of the explanation.
        target: as in `explain`; None for the likeliest of the trained model.
        seed: of the random weights.
        **settings: keywords of the explanation.

    Returns:
        Spearman's rank correlation (B,) of each map with that of random weights; 0 where a map is
        the same everywhere.

    Raises:
        ConfigError: as `explain`.
        TierError: as `explain`.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> randomization_check(model, torch.randn(3, 3, 8, 8), "relevance").shape
        torch.Size([3])
    """
    if target is None and explains_classes(explanation):
        require_classes(model)
        with torch.no_grad():
            target = model(images).argmax(dim=1).tolist()
    maps = explain(model, images, explanation, target, **settings)
    random = explain(_with_random_weights(model, seed), images, explanation, target, **settings)
    return rank_correlation(maps, random)


@checked
def rank_correlation(maps: Maps, others: Maps) -> Tensor:
    """Spearman's rank correlation of maps.

    Args:
        maps: (B, *grid).
        others: (B, *grid).

    Returns:
        (B,), -1 to 1; 0 where a map is the same everywhere.

    Raises:
        ConfigError: the shapes differ.

    Example:
        >>> rank_correlation(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 4.0, 9.0]]))
        tensor([1.])
    """
    if maps.shape != others.shape:
        raise ConfigError(
            f"maps {tuple(maps.shape)} and others {tuple(others.shape)} differ in shape."
        )
    first, second = (_average_ranks(each.flatten(1)) for each in (maps, others))
    first, second = (each - each.mean(1, keepdim=True) for each in (first, second))
    norms = (first.norm(dim=1) * second.norm(dim=1)).clamp_min(1e-12)
    return ((first * second).sum(1) / norms).to(torch.float32).cpu()


def _with_random_weights(model: Backbone, seed: int) -> Backbone:
    """A copy with initial weights; tables that start as zeros are drawn too."""
    random = copy.deepcopy(model)
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        random.init_weights()
        for parameter in random.parameters():
            if (
                parameter.ndim > 1 and not parameter.any()
            ):  # such as a head, which gives no gradient
                nn.init.trunc_normal_(parameter, std=0.02)
    finally:
        torch.random.set_rng_state(state)
    return random.eval()


def _average_ranks(values: Tensor) -> Tensor:
    """values (B, N) → (B, N) in float64; equal values share the mean of their ranks."""
    ranks = []
    for row in values:
        _, inverse, counts = row.unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0).double()
        ranks.append((last - (counts.double() - 1) / 2)[inverse])
    return torch.stack(ranks)
