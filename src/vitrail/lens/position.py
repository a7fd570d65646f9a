"""What a map owes to position alone: the same map of images whose patches are shuffled.

A scan forgets, so the patches next to a token weigh most for it whatever they show. Recency is not
attention: a map is evidence only as far as it differs from this baseline.
"""

import dataclasses
from typing import Annotated

import torch
from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.errors import TierError, check_range
from vitrail.lens.layer_keys import LayerKey
from vitrail.lens.record import record
from vitrail.lens.trace import AttentionTrace, trace_attention
from vitrail.models.base import Backbone
from vitrail.values import PositiveInt

MAX_REPEATS = 1000


def shuffle_patches(
    images: Tensor, grid: tuple[int, ...], generator: torch.Generator | None = None
) -> Tensor:
    """Images whose patches have changed places, all of a batch in the same way.

    Args:
        images: (B, C, *size).
        grid: number of patches along each axis. Pixels beyond a whole number of them stay.
        generator: source of the random order; None for torch's own.

    Returns:
        (B, C, *size).

    Example:
        >>> shuffle_patches(torch.arange(4.0).view(1, 1, 2, 2), (2, 2)).sum()
        tensor(6.)
    """
    sides = [size // count for size, count in zip(images.shape[2:], grid, strict=True)]
    whole = tuple(slice(0, side * count) for side, count in zip(sides, grid, strict=True))
    cut = images[(slice(None), slice(None), *whole)]
    for axis, side in enumerate(sides):
        cut = cut.unflatten(2 + 2 * axis, (-1, side))  # (B, C, H, h, W, w)
    axes = list(range(2, cut.ndim))
    split = [0, 1, *axes[::2], *axes[1::2]]
    patches = cut.permute(split).flatten(2, 1 + len(grid))  # (B, C, N, h, w)
    order = torch.randperm(patches.shape[2], generator=generator).to(images.device)
    patches = patches[:, :, order].unflatten(2, grid)
    inverse = [split.index(axis) for axis in range(cut.ndim)]
    shuffled = images.clone()
    shuffled[(slice(None), slice(None), *whole)] = patches.permute(inverse).reshape(
        *images.shape[:2], *(side * count for side, count in zip(sides, grid, strict=True))
    )
    return shuffled


@checked
def position_baseline(
    model: Backbone, images: Tensor, trace: AttentionTrace, *, repeats: PositiveInt = 4
) -> AttentionTrace:
    """The mean trace of the same images with their patches shuffled.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        trace: of these images; the baseline answers the same query.
        repeats: number of random orders that are averaged, at most 1,000. They are the same in
            every call.

    Returns:
        A trace whose attention and rollout are means. Its features and logits are of the last
        order.

    Raises:
        TierError: the model has no map of its attention, or the trace is of other images.
        ConfigError: there are too many repeats.

    Example:
        >>> from vitrail.lens.trace import trace_attention
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> images = torch.rand(1, 3, 8, 8)
        >>> trace = trace_attention(model, images)
        >>> position_baseline(model, images, trace).attention[0].shape
        torch.Size([1, 2, 2, 2])
    """
    check_range("repeats", repeats, 1, MAX_REPEATS)
    generator = torch.Generator().manual_seed(0)
    grid = trace.features.grid
    if images.ndim != len(grid) + 2 or len(images) != len(trace.logits):
        raise TierError(
            f"images of shape {tuple(images.shape)} are not those of the trace, of "
            f"{len(trace.logits)} images with the grid {grid}."
        )
    traces = [
        trace_attention(
            model,
            shuffle_patches(images, grid, generator),
            query=trace.query,
            incoming=trace.incoming,
        )
        for _ in range(repeats)
    ]
    layers = zip(*(each.attention for each in traces), strict=True)
    return dataclasses.replace(
        traces[-1],
        attention=[torch.stack(maps).mean(0) for maps in layers],
        rollout=torch.stack([each.rollout for each in traces]).mean(0),
    )


@checked
@torch.inference_mode()
def shuffled_weights(
    model: Backbone, images: Tensor, layer: LayerKey, *, repeats: PositiveInt = 4
) -> Tensor:
    """The mean attention weights of a layer for the same images with their patches shuffled.

    The orders are those of `position_baseline`, which gives one query of every layer; this gives
    every query of one.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        layer: the layer, as in `record`.
        repeats: number of random orders that are averaged, at most 1,000.

    Returns:
        The weights as `record` gives them, such as (B, heads, N, N).

    Raises:
        ConfigError: there is no such layer, or there are too many repeats.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> shuffled_weights(model, torch.rand(1, 3, 8, 8), 0).shape
        torch.Size([1, 2, 5, 5])
    """
    check_range("repeats", repeats, 1, MAX_REPEATS)
    generator = torch.Generator().manual_seed(0)
    grid = model.embed(images).grid
    weights = []
    for _ in range(repeats):
        with record(model, layers=[layer]) as maps:
            model.encode(model.embed(shuffle_patches(images, grid, generator)))
        weights.append(maps[layer])
    return torch.stack(weights).mean(0)


@checked
def explained_by_position(
    weights: Annotated[Tensor, Axes(1, 2, 3)], baseline: Annotated[Tensor, Axes(1, 2, 3)]
) -> float:
    """The fraction of a map's variance that its position-only baseline explains.

    Args:
        weights: a map (*grid).
        baseline: the same map of the baseline.

    Returns:
        The squared correlation: 1 if the map says nothing but where the query is, 0 if its
        pattern has nothing of it. NaN where one of them is uniform.

    Raises:
        TierError: the maps differ in shape.

    Example:
        >>> weights = torch.tensor([0.1, 0.2, 0.4])
        >>> round(explained_by_position(weights, 2 * weights), 6)
        1.0
    """
    if weights.shape != baseline.shape:
        raise TierError(
            f"a map {tuple(weights.shape)} has no baseline {tuple(baseline.shape)}: give one of "
            "the same patches."
        )
    pair = torch.stack([weights.flatten(), baseline.flatten()]).double().cpu()
    return float(torch.corrcoef(pair)[0, 1] ** 2) if pair.shape[1] > 1 else float("nan")
