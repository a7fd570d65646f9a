"""Deletion and insertion: what removing patches does to the probability of a class."""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.errors import ConfigError
from vitrail.lens.explanations.base import class_indices, require_classes
from vitrail.models.base import Backbone
from vitrail.values import NonNegativeInt, PositiveInt


class Curve(NamedTuple):
    """The probability of a class while patches are removed or inserted.

    Args:
        fractions: fraction of the cells that were removed or inserted, (steps + 1,).
        probabilities: of the class, (steps + 1, B).

    Example:
        >>> Curve(torch.tensor([0.0, 1.0]), torch.tensor([[1.0], [0.0]])).area
        tensor([0.5000])
    """

    fractions: Tensor
    probabilities: Tensor

    @property
    def area(self) -> Tensor:
        """The area under the curve of each image, (B,)."""
        return torch.trapezoid(self.probabilities, self.fractions, dim=0)


@checked
def perturbation_curve(
    model: Backbone,
    images: Tensor,
    maps: Annotated[Tensor, Axes(2, 3, 4)],
    target: int | str | Sequence[int | str] | None = None,
    *,
    kind: Literal["deletion", "insertion"] = "deletion",
    steps: PositiveInt = 20,
    seed: NonNegativeInt = 0,
) -> Curve:
    """Deletion and insertion curves (Petsiuk et al. 2018, https://arxiv.org/abs/1806.07421).

    Deletion gives the mean color to the cells with the highest values first. If the map is right,
    the probability falls at once. Insertion begins with an image of the mean color, which is 0 in a
    normalized image, and shows these cells first.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        maps: what is tested, (B, *grid) of any grid.
        target: the class, as in `explain`. None: the likeliest of each whole image.
        kind: "deletion" or "insertion".
        steps: number of steps from none of the cells to all; of more than cells there are as many.
        seed: of the order of cells with equal values.

    Returns:
        The probabilities of the class.

    Raises:
        TierError: the model has no classes.
        ConfigError: there are not as many maps as images, they hold NaN, or there is no such class.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> images, maps = torch.randn(3, 3, 8, 8), torch.rand(3, 2, 2)
        >>> perturbation_curve(model, images, maps, steps=4).probabilities.shape
        torch.Size([5, 3])
    """
    require_classes(model)
    model.check_input(images)
    if len(maps) != len(images) or maps.ndim != images.ndim - 1:
        raise ConfigError(
            f"maps {tuple(maps.shape)} are not one per image {tuple(images.shape)}: give maps "
            "(B, *grid)."
        )
    if bool(maps.isnan().any()):
        raise ConfigError("the maps hold NaN, which has no rank: check the model's weights.")
    ranks = _ranks_from_highest(maps, seed)
    cells = ranks[0].numel()
    fractions = torch.linspace(0, 1, min(steps, cells) + 1)
    pixels = F.interpolate(ranks[:, None], size=images.shape[2:], mode="nearest")
    probabilities = []
    with torch.no_grad():
        if target is None:
            targets = model(images).argmax(dim=1)
        else:
            targets = class_indices(model, len(images), "relevance", target)
        for fraction in fractions.tolist():
            marked = pixels < round(fraction * cells)
            keep = ~marked if kind == "deletion" else marked
            of_classes = model.outputs.activate(model(images * keep))
            probabilities.append(of_classes.gather(1, targets[:, None]).squeeze(1))
    return Curve(fractions, torch.stack(probabilities).cpu())


def _ranks_from_highest(maps: Tensor, seed: int) -> Tensor:
    """maps (B, *grid) → (B, *grid), 0 for the highest value; equal ones in random order."""
    generator = torch.Generator().manual_seed(seed)
    values = maps.flatten(1).float().cpu()
    shuffle = torch.rand(values.shape, generator=generator).argsort(1)
    order = values.gather(1, shuffle).argsort(dim=1, descending=True, stable=True)
    ranks = torch.empty_like(values, dtype=torch.float32)
    ranks.scatter_(
        1, shuffle.gather(1, order), torch.arange(values.shape[1]).float().expand_as(ranks)
    )
    return ranks.view(maps.shape).to(maps.device)
