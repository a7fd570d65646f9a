"""Attention of a forward pass as maps over the patches, or what stands in for it."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.errors import ConfigError, TierError
from vitrail.layers.recording import RecordedMixer
from vitrail.lens.layer_keys import LayerKey, recorded_mixers, sorted_indices
from vitrail.lens.record import recording
from vitrail.lens.rollout import extend_rollout
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.values import NonNegativeInt, PositiveInt

MAX_STAGES = 5  # more blocks than this are represented by four of them

Query = str | tuple[int, ...]  # "class", "mean" or a position in the grid
Images = Annotated[Tensor, Axes(3, 4, 5)]  # (B, C, *size)


@dataclass
class AttentionTrace:
    """Attention of one forward pass, as maps over the patches: what `trace_attention` returns.

    Args:
        keys: key of each layer, as in `layer_paths`.
        attention: per layer, attention of the query to each patch, (B, heads, *grid).
        head_names: per layer, the names of its heads, or () where heads have no names.
        rollout: attention rollout of the query through all layers, (B, *grid).
        features: features after the last norm.
        logits: what the model returns, (B, classes).
        query: whose attention it is: "class", "mean" or a position in the grid, as in `patch_maps`.
        incoming: whether the maps are of the attention that each patch pays to the query.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> trace = trace_attention(model, torch.zeros(1, 3, 8, 8))
        >>> trace.attention[0].shape, trace.rollout.shape
        (torch.Size([1, 2, 2, 2]), torch.Size([1, 2, 2]))
    """

    keys: list[LayerKey]
    attention: list[Tensor]
    head_names: list[tuple[str, ...]]
    rollout: Tensor
    features: Features
    logits: Tensor
    query: Query = "class"
    incoming: bool = False

    @property
    def depth(self) -> int:
        """The number of attention layers."""
        return len(self.attention)


class StageFeatures(list[Features]):
    """Features after some stages, which stand in for the attention of a model that has no map.

    Args:
        stages: features of a batch, of each stage.
        reason: why there is no map of the attention, in one line.

    Example:
        >>> StageFeatures([], "this model has no attention.").reason
        'this model has no attention.'
    """

    def __init__(self, stages: list[Features], reason: str) -> None:
        super().__init__(stages)
        self.reason = reason


@checked
def trace_attention(
    model: Backbone, images: Images, *, query: Query | None = None, incoming: bool = False
) -> AttentionTrace:
    """The attention of one forward pass, of a model whose layers all attend over all tokens.

    Weights are reduced to maps as they are computed, so memory holds one layer's (N, N) weights
    at a time.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        query: whose attention to follow, as in `patch_maps`. None: the class token's, or the mean
            over patches where there is none.
        incoming: as in `patch_maps`.

    Returns:
        Maps of each layer, their rollout, the features and the logits.

    Raises:
        TierError: the model has no attention, or a layer attends within windows, to a coarser
            grid, or to some of the tokens only.
        ConfigError: `query` does not exist.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> trace_attention(model, torch.zeros(1, 3, 8, 8)).depth
        2
    """
    with torch.inference_mode():
        trace = trace_features(model, model.embed(images), query, incoming)
    if isinstance(trace, str):
        raise TierError(trace)
    return trace


def trace_features(
    model: Backbone, embedded: Features, query: Query | None = None, incoming: bool = False
) -> AttentionTrace | str:
    """The trace of the blocks of a model.

    Args:
        model: the model, in evaluation mode.
        embedded: what `model.embed` returns.
        query: as in `trace_attention`.
        incoming: as in `trace_attention`.

    Returns:
        The trace; or in one line, why the layers of this model have none.

    Raises:
        TierError: the model has no attention.
        ConfigError: `query` does not exist.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> trace_features(model, model.embed(torch.zeros(1, 3, 8, 8))).query
        'class'
    """
    mixers = recorded_mixers(model)
    keys: list[LayerKey] = []
    maps: list[Tensor] = []
    flow: Tensor | None = None
    mismatch = ""
    (batch, prefix), grid = embedded.prefix.shape[:2], embedded.grid
    tokens = prefix + math.prod(grid)
    query = query or ("class" if prefix else "mean")
    _query_rows(torch.empty(tokens, 0), grid, prefix, query)  # raises where there is no such query

    def follow(key: LayerKey, weights: Tensor) -> None:
        nonlocal flow, mismatch
        if mismatch:
            return
        if tuple(weights.shape[-2:]) != (tokens, tokens):
            mismatch = f"{type(model).__name__}: {_not_all_tokens(weights, batch, grid)}"
            return
        keys.append(key)
        maps.append(patch_maps(weights, grid, prefix, query, incoming=incoming))
        flow = extend_rollout(flow, weights)

    with torch.inference_mode():
        with recording(model, follow):
            features = model.encode(embedded)
        logits = model.head(model.pool(features))
    if mismatch or flow is None:
        return mismatch or f"{type(model).__name__} ran no attention layer."
    names = [mixers[key].head_names for key in keys]
    rollout = patch_maps(flow, grid, prefix, query, incoming=incoming)
    return AttentionTrace(keys, maps, names, rollout, features, logits, query, incoming)


@checked
def observe(
    model: Backbone, images: Images, *, query: Query | None = None, incoming: bool = False
) -> AttentionTrace | StageFeatures:
    """The attention of a forward pass, or features of some stages where attention has no map.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        query: as in `trace_attention`.
        incoming: as in `trace_attention`.

    Returns:
        `trace_attention` where every layer attends over all tokens. Otherwise the features after
        each stage of a pyramid, or after four blocks spread evenly, and why there is no map.

    Raises:
        ConfigError: `query` does not exist.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> type(observe(model, torch.zeros(1, 3, 8, 8))).__name__
        'AttentionTrace'
    """
    reason = f"{type(model).__name__} has no attention between patches."
    if any(isinstance(module, RecordedMixer) for module in model.modules()):
        with torch.inference_mode():
            trace = trace_features(model, model.embed(images), query, incoming)
        if isinstance(trace, AttentionTrace):
            return trace
        reason = trace
    depth = len(model.blocks)
    few = depth <= MAX_STAGES
    indices = range(depth) if few else [depth * (i + 1) // 4 - 1 for i in range(4)]
    with torch.inference_mode():
        return StageFeatures(model.intermediates(images, indices), reason)


@checked
def patch_maps(
    weights: Annotated[Tensor, Axes(2, 3, 4)],
    grid: tuple[PositiveInt, ...],
    prefix: NonNegativeInt,
    query: Query | None = None,
    *,
    incoming: bool = False,
) -> Tensor:
    """The attention of one query to each patch, or of each patch to it, as a map.

    Args:
        weights: attention weights (..., N, N), prefix tokens first.
        grid: number of patches along each axis.
        prefix: number of prefix tokens.
        query: "class", the first prefix token; "mean", the mean over the patches; or the position
            of a patch in the grid, such as (row, column), negative ones counting from the end.
            None: "class" where there is a prefix, else "mean".
        incoming: whether to take the column of the attention, how much each patch attends to the
            query, and not the row, how much the query attends to each patch.

    Returns:
        (..., *grid).

    Raises:
        TierError: the weights are not over all tokens of the grid, as in a layer that attends
            within windows.
        ConfigError: `query` does not exist.

    Example:
        >>> weights = torch.eye(5)
        >>> patch_maps(weights, (2, 2), prefix=1, query=(0, 1))
        tensor([[0., 1.],
                [0., 0.]])
    """
    tokens = prefix + math.prod(grid)
    if weights.shape[-2:] != (tokens, tokens):
        raise TierError(_not_all_tokens(weights, len(weights), grid))
    query = query or ("class" if prefix else "mean")
    rows = _query_rows(weights.mT if incoming else weights, grid, prefix, query)
    return rows[..., prefix:].unflatten(-1, grid)


def _query_rows(weights: Tensor, grid: tuple[int, ...], prefix: int, query: Query) -> Tensor:
    """The rows (..., N, M) of a query, averaged where it is of several tokens: (..., M)."""
    if query == "class":
        if not prefix:
            raise ConfigError('query="class": this model has no class token; use "mean".')
        return weights[..., 0, :]
    if query == "mean":
        return weights[..., prefix:, :].mean(dim=-2)
    if isinstance(query, tuple) and len(query) == len(grid):
        token = 0
        for position, size in zip(query, grid, strict=True):
            token = token * size + sorted_indices([position], size, "row or column")[0]
        return weights[..., prefix + token, :]
    raise ConfigError(f'query={query!r} is not "class", "mean" or a position in the grid {grid}.')


def attended(weights: Tensor, batch: int) -> str:
    """Over which tokens a layer attends.

    Args:
        weights: its attention weights (B · windows, ..., queries, keys).
        batch: number of images B.

    Returns:
        The beginning of a sentence.

    Example:
        >>> attended(torch.zeros(8, 4, 4), 2)
        'a layer attends within 4 windows of 4 tokens'
        >>> attended(torch.zeros(2, 1, 5), 2)
        'a layer attends from 1 token to 5'
    """
    windows, (queries, keys) = len(weights) // batch, weights.shape[-2:]
    if windows > 1:
        return f"a layer attends within {windows} windows of {keys} tokens"
    return f"a layer attends from {queries} token{'s' * (queries > 1)} to {keys}"


def _not_all_tokens(weights: Tensor, batch: int, grid: tuple[int, ...]) -> str:
    """Why weights are no map over the grid."""
    shape = " x ".join(map(str, grid))
    return (
        f"{attended(weights, batch)}, not over all tokens of the grid {shape}: "
        "`record` gives its weights, and the explanation occlusion serves every model."
    )
