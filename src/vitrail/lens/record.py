"""Recording attention weights, and the contribution of each token to a scan's output."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from vitrail.arguments import Axes, checked
from vitrail.errors import ConfigError, TierError
from vitrail.layers.recording import RecordedMixer
from vitrail.lens.layer_keys import (
    LayerKey,
    Maps,
    layer_paths,
    recorded_mixers,
    select_layers,
    sorted_indices,
)
from vitrail.lens.rollout import extend_rollout
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.values import NonNegativeInt, PositiveInt

MAX_STAGES = 5  # more blocks than this are represented by four of them

WeightsHook = Callable[[Tensor], None]


class _Recorders:
    """Several recorders of one mixer, called one after the other."""

    def __init__(self, recorders: Sequence[WeightsHook]) -> None:
        self.recorders = tuple(recorders)

    def __call__(self, weights: Tensor) -> None:
        for recorder in self.recorders:
            recorder(weights)


def _recorders(mixer: RecordedMixer) -> tuple[WeightsHook, ...]:
    """The recorders that are attached to a mixer."""
    if mixer.recorder is None:
        return ()
    return mixer.recorder.recorders if isinstance(mixer.recorder, _Recorders) else (mixer.recorder,)


def _attach(mixer: RecordedMixer, recorders: Sequence[WeightsHook]) -> None:
    """Makes these the recorders of a mixer."""
    mixer.recorder = (
        (recorders[0] if recorders else None) if len(recorders) < 2 else _Recorders(recorders)
    )


@contextlib.contextmanager
def recording(
    model: nn.Module,
    recorder: Callable[[LayerKey, Tensor], None],
    layers: Sequence[LayerKey] | None = None,
    *,
    gradients: bool = False,
) -> Iterator[None]:
    """Within the context, every attention layer of a forward calls `recorder(key, weights)`.

    Nothing is kept, so memory holds one layer's weights at a time; `record` keeps them. Contexts
    nest, and may end in any order, also by an exception: each removes its own recorder only.

    Args:
        model: the model whose layers are recorded.
        recorder: function of the layer's key (see `layer_paths`) and its weights (B, heads, N,
            N), which are detached unless `gradients`.
        layers: layers to record, as in `record`. None: all.
        gradients: as in `record`.

    Returns:
        A context manager.

    Raises:
        TierError: the model has no layer that can be recorded, or not with gradients.
        ConfigError: a layer does not exist.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> shapes = {}
        >>> with recording(model, lambda key, weights: shapes.update({key: tuple(weights.shape)})):
        ...     logits = model(torch.zeros(1, 3, 8, 8))
        >>> shapes
        {0: (1, 2, 5, 5), 1: (1, 2, 5, 5)}
    """
    mixers = recorded_mixers(model)

    def for_layer(key: LayerKey) -> WeightsHook:
        return lambda weights: recorder(key, weights if gradients else weights.detach())

    keys = mixers if layers is None else select_layers(layers, layer_paths(model))
    own = {mixers[key]: for_layer(key) for key in keys}
    if gradients and (fixed := [m for m in own if not m.weights_have_gradients]):
        raise TierError(
            f"the output of {type(fixed[0]).__name__} is not computed from the weights that are "
            "recorded, so they have no gradients: record without gradients."
        )
    for mixer, call in own.items():
        _attach(mixer, [*_recorders(mixer), call])
        mixer.gradient_recorders += gradients
    try:
        yield
    finally:
        for mixer, call in own.items():
            _attach(mixer, [other for other in _recorders(mixer) if other is not call])
            mixer.gradient_recorders -= gradients


@checked
@contextlib.contextmanager
def record(
    model: nn.Module,
    layers: Sequence[LayerKey] | None = None,
    heads: Sequence[int] | None = None,
    *,
    gradients: bool = False,
) -> Iterator[Maps]:
    """Records the attention weights of a model's layers, without changing its output.

    Args:
        model: the model to record.
        layers: layers to record: indices of blocks, or where keys are paths, positions among the
            layers; negative ones count from the last layer; or paths of modules. None: all.
        heads: indices of the heads to keep; negative ones count from the end. None: all.
        gradients: whether the weights are part of the graph of the output, as relevance (Chefer et
            al. 2021, https://arxiv.org/abs/2103.15679) needs: `torch.autograd.grad` of a logit
            with respect to them, or their `grad` after `backward()`. Dropout does not reach these
            gradients, and backward passes take the memory of all weights.

    Returns:
        A context manager that gives `Maps`, which every forward within the context fills with
        weights (B, heads, N, N). Row i belongs to query i; tokens are the prefix, then patches row
        by row. The last forward replaces what earlier ones recorded.

    Raises:
        TierError: the model has no layer that can be recorded, or not with gradients.
        ConfigError: a layer or a head does not exist, or heads are selected with `gradients`.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> with record(model, heads=[0]) as maps:
        ...     logits = model(torch.zeros(1, 3, 8, 8))
        >>> maps[1].shape
        torch.Size([1, 1, 5, 5])
    """
    maps = Maps(layer_paths(model))
    if gradients and heads is not None:
        raise ConfigError(
            f"heads={heads} with gradients: heads are copies, which have none. Leave heads out, "
            "and select them from the gradients."
        )

    def keep(key: LayerKey, weights: Tensor) -> None:
        if heads is not None:
            weights = weights[:, sorted_indices(heads, weights.shape[1], "head")]
        if gradients and weights.requires_grad:
            weights.retain_grad()
        maps[key] = weights

    with recording(model, keep, layers, gradients=gradients):
        yield maps


@dataclass
class AttentionTrace:
    """Attention of one forward pass, as maps over the patches: what `trace_attention` returns.

    Args:
        keys: key of each layer, as in `layer_paths`.
        attention: per layer, attention of the summary query to each patch, (B, heads, *grid).
        head_names: per layer, the names of its heads, or () where heads have no names.
        rollout: attention rollout of the summary query through all layers, (B, *grid).
        features: features after the last norm.
        logits: what the model returns, (B, classes).

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

    @property
    def depth(self) -> int:
        """The number of attention layers."""
        return len(self.attention)


@checked
def trace_attention(model: Backbone, images: Tensor) -> AttentionTrace:
    """The attention of one forward pass, of a model whose layers all attend over all tokens.

    Weights are reduced to maps as they are computed, so memory holds one layer's (N, N) weights
    at a time. The summary query is the class token, or the mean over patches where there is none.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).

    Returns:
        Maps of each layer, their rollout, the features and the logits.

    Raises:
        TierError: the model has no attention, or a layer attends within windows, to a coarser
            grid, or to some of the tokens only.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> trace_attention(model, torch.zeros(1, 3, 8, 8)).depth
        2
    """
    trace = _trace(model, images)
    if isinstance(trace, str):
        raise TierError(trace)
    return trace


def _trace(model: Backbone, images: Tensor) -> AttentionTrace | str:
    """The trace of a forward pass, or why the layers of this model have none."""
    mixers = recorded_mixers(model)
    keys: list[LayerKey] = []
    maps: list[Tensor] = []
    flow: Tensor | None = None
    mismatch = ""
    with torch.inference_mode():
        embedded = model.embed(images)
        prefix, grid = embedded.prefix.shape[1], embedded.grid
        tokens = prefix + math.prod(grid)

        def follow(key: LayerKey, weights: Tensor) -> None:
            nonlocal flow, mismatch
            if mismatch:
                return
            if tuple(weights.shape[-2:]) != (tokens, tokens):
                mismatch = _not_all_tokens(weights, grid)
                return
            keys.append(key)
            maps.append(patch_maps(weights, grid, prefix))
            flow = extend_rollout(flow, weights)

        with recording(model, follow):
            features = model.encode(embedded)
        logits = model.head(model.pool(features))
    if mismatch or flow is None:
        return mismatch or f"{type(model).__name__} ran no attention layer."
    names = [mixers[key].head_names for key in keys]
    return AttentionTrace(keys, maps, names, patch_maps(flow, grid, prefix), features, logits)


@checked
def observe(model: Backbone, images: Tensor) -> AttentionTrace | list[Features]:
    """The attention of a forward pass, or features of some stages where attention has no map.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).

    Returns:
        `trace_attention` where every layer attends over all tokens. Otherwise the features after
        each stage of a pyramid, or after four blocks spread evenly.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> type(observe(model, torch.zeros(1, 3, 8, 8))).__name__
        'AttentionTrace'
    """
    if any(isinstance(module, RecordedMixer) for module in model.modules()):
        trace = _trace(model, images)
        if isinstance(trace, AttentionTrace):
            return trace
    depth = len(model.blocks)
    few = depth <= MAX_STAGES
    indices = range(depth) if few else [depth * (i + 1) // 4 - 1 for i in range(4)]
    with torch.inference_mode():
        return model.intermediates(images, indices)


@checked
def patch_maps(
    weights: Annotated[Tensor, Axes(2, 3, 4)],
    grid: tuple[PositiveInt, ...],
    prefix: NonNegativeInt,
    query: str | tuple[int, ...] | None = None,
) -> Tensor:
    """The attention of one query to each patch, as a map.

    Args:
        weights: attention weights (..., N, N), prefix tokens first.
        grid: number of patches along each axis.
        prefix: number of prefix tokens.
        query: "class", the first prefix token; "mean", the mean over the patches' queries; or the
            position of a patch in the grid, such as (row, column), negative ones counting from the
            end. None: "class" where there is a prefix, else "mean".

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
        raise TierError(_not_all_tokens(weights, grid))
    if query is None:
        query = "class" if prefix else "mean"
    if query == "class":
        if not prefix:
            raise ConfigError('query="class": this model has no class token; use "mean".')
        rows = weights[..., 0, :]
    elif query == "mean":
        rows = weights[..., prefix:, :].mean(dim=-2)
    elif isinstance(query, tuple) and len(query) == len(grid):
        token = 0
        for position, size in zip(query, grid, strict=True):
            token = token * size + sorted_indices([position], size, "row or column")[0]
        rows = weights[..., prefix + token, :]
    else:
        raise ConfigError(
            f'query={query!r} is not "class", "mean" or a position in the grid {grid}.'
        )
    return rows[..., prefix:].unflatten(-1, grid)


def _not_all_tokens(weights: Tensor, grid: tuple[int, ...]) -> str:
    """Why weights are no map over the grid."""
    queries, count = weights.shape[-2:]
    return (
        f"a layer's {queries} queries attend to {count} keys, not to all tokens of the grid "
        f"{' x '.join(map(str, grid))}: `record` gives its weights."
    )
