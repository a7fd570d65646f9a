"""How far each of several explanations can be believed, on the same images."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import VitrailError
from vitrail.lens.explanations.base import (
    EXPLANATIONS,
    explain,
    explains_classes,
    image_grid,
    require_classes,
)
from vitrail.lens.faithfulness.perturbation import perturbation_curve
from vitrail.lens.faithfulness.randomization import randomization_check
from vitrail.models.base import Backbone
from vitrail.values import NonNegativeInt, PositiveInt

# "similarity" is to one patch, and of no class.
COMPARED = tuple(name for name in EXPLANATIONS.builtin if name != "similarity")
RANDOM = "random"  # the name of maps that are drawn at random, which an explanation has to beat
MAX_CORRELATION = 0.5  # with the map of random weights, from which an explanation fails the check


class Faithfulness(NamedTuple):
    """How far the maps of one explanation can be believed.

    Args:
        explanation: its name, or "random".
        deletion: area under the deletion curve of each image (B,); lower is better.
        insertion: area under the insertion curve of each image (B,); higher is better.
        correlation: rank correlation of each map with that of random weights (B,); None for random
            maps.
        maps: the maps, (B, *grid) of any grid.

    Example:
        >>> one = Faithfulness("attention", torch.zeros(2), torch.ones(2), torch.tensor([1.0, 0.9]))
        >>> one.depends_on_weights
        False
    """

    explanation: str
    deletion: Tensor
    insertion: Tensor
    correlation: Tensor | None
    maps: Tensor | None = None

    @property
    def depends_on_weights(self) -> bool:
        """Whether it passes the randomization check: other weights give other maps."""
        return self.correlation is None or bool(self.correlation.mean() < MAX_CORRELATION)


@checked
def compare_explanations(
    model: Backbone,
    images: Tensor,
    explanations: Sequence[str] | None = None,
    target: int | str | Sequence[int | str] | None = None,
    *,
    steps: PositiveInt = 10,
    seed: NonNegativeInt = 0,
) -> list[Faithfulness]:
    """Tests the maps of several explanations on the same images, beside random maps.

    Args:
        model: the model, in evaluation mode, which is left as it is.
        images: normalized images (B, C, *size).
        explanations: their names; None for those of Vitrail that serve this model.
        target: as in `explain`.
        steps: steps of the deletion and insertion curves.
        seed: of random weights and random maps.

    Returns:
        One result per explanation, random maps last.

    Raises:
        ConfigError: there is no such explanation or class.
        TierError: a named explanation does not serve the model.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> results = compare_explanations(model, torch.randn(2, 3, 8, 8), ["rollout"], steps=2)
        >>> [each.explanation for each in results]
        ['rollout', 'random']
    """
    return list(measure_explanations(model, images, explanations, target, steps=steps, seed=seed))


def measure_explanations(
    model: Backbone,
    images: Tensor,
    explanations: Sequence[str] | None = None,
    target: int | str | Sequence[int | str] | None = None,
    *,
    steps: int = 10,
    seed: int = 0,
) -> Iterator[Faithfulness]:
    """The results of `compare_explanations` one by one, as they are computed.

    Args:
        model: as in `compare_explanations`, as all that follow.
        images: (B, C, *size).
        explanations: names; None for those that serve this model.
        target: class or classes; None for the likeliest of each image.
        steps: steps of the curves.
        seed: of random weights and random maps.

    Yields:
        One result per explanation, random maps last.

    Raises:
        ConfigError: there is no such explanation or class.
        TierError: a named explanation does not serve the model.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> results = measure_explanations(model, torch.randn(2, 3, 8, 8), ["rollout"], steps=2)
        >>> next(results).explanation
        'rollout'
    """
    require_classes(model)
    if target is None:
        with torch.no_grad():
            target = model(images).argmax(dim=1).tolist()
    for name in COMPARED if explanations is None else explanations:
        try:
            yield measure_explanation(model, images, name, target, steps=steps, seed=seed)
        except VitrailError:
            if explanations is not None:
                raise
    yield measure_explanation(model, images, RANDOM, target, steps=steps, seed=seed)


def measure_explanation(
    model: Backbone,
    images: Tensor,
    explanation: str,
    target: int | str | Sequence[int | str],
    *,
    steps: int = 10,
    seed: int = 0,
) -> Faithfulness:
    """Tests the maps of one explanation.

    Args:
        model: the model, in evaluation mode, which is left as it is.
        images: normalized images (B, C, *size).
        explanation: its name; "random" for random maps.
        target: as in `explain`, but not None.
        steps: steps of the deletion and insertion curves.
        seed: of random weights and random maps.

    Returns:
        The result.

    Raises:
        ConfigError: there is no such explanation or class.
        TierError: the explanation does not serve the model.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> measure_explanation(model, torch.randn(2, 3, 8, 8), "rollout", 0).deletion.shape
        torch.Size([2])
    """
    correlation = None
    if explanation == RANDOM:
        generator = torch.Generator().manual_seed(seed)
        maps = torch.rand((len(images), *image_grid(model, images)), generator=generator).to(
            images.device
        )
    else:
        own = {"target": target} if explains_classes(explanation) else {}
        maps = explain(model, images, explanation, **own)
        correlation = randomization_check(model, images, explanation, seed=seed, **own)
    areas = {
        kind: perturbation_curve(
            model, images, maps, target, kind=kind, steps=steps, seed=seed
        ).area
        for kind in ("deletion", "insertion")
    }
    return Faithfulness(explanation, areas["deletion"], areas["insertion"], correlation, maps)
