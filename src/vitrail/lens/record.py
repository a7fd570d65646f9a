"""Recording where the tokens of a model look: attention, or what a scan carries over."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, TierError
from vitrail.layers.recording import RecordedMixer
from vitrail.lens.rollout import follow
from vitrail.models.base import Backbone, Features

SHOWN = 5  # stages side by side
Maps = dict[int, Tensor]  # layer → weights (B, heads, N, N): row i is where token i looks


def taps(model: nn.Module) -> list[RecordedMixer]:
    """The mixers that show where tokens look, in order. Raises `TierError` if there are none."""
    found = [module for module in model.modules() if isinstance(module, RecordedMixer)]
    if not found:
        raise TierError(f"{type(model).__name__} has no attention to record.")
    return found


@contextlib.contextmanager
def tapped(
    model: nn.Module, see: Callable[[int, Tensor], None], layers: Sequence[int] | None = None
) -> Iterator[None]:
    """While inside, every attention layer of a forward calls see(layer, weights (B, heads, N, N)).

    Nothing is kept, so memory holds one layer's weights at a time; `record` keeps them. Earlier
    taps come back at the end, after an exception too. Raises `TierError` for a model that has no
    mixer with a tap, `ConfigError` for a layer that is not there.
    """
    mixers = taps(model)
    chosen = range(len(mixers)) if layers is None else pick(layers, len(mixers), "attention layer")
    before = [mixer.tap for mixer in mixers]
    try:
        for layer in chosen:
            mixers[layer].tap = lambda weights, layer=layer: see(layer, weights.detach())
        yield
    finally:
        for mixer, old in zip(mixers, before, strict=True):
            mixer.tap = old


@contextlib.contextmanager
def record(
    model: nn.Module, layers: Sequence[int] | None = None, heads: Sequence[int] | None = None
) -> Iterator[Maps]:
    """Records attention while inside, without changing the model's output.

        with record(model) as maps:
            model(images)
        maps[11]  # (B, heads, N, N); tokens are prefix first, then patches row by row

    layers, heads: counted from 0; negative ones count back; None records all. The last forward
    counts. Raises what `tapped` raises.
    """
    maps: Maps = {}

    def keep(layer: int, weights: Tensor) -> None:
        chosen = heads if heads is None else pick(heads, weights.shape[1], "head")
        maps[layer] = weights if chosen is None else weights[:, chosen]

    with tapped(model, keep, layers):
        yield maps


class AttentionTrace:
    """One forward pass, looked at: where each head looks, rollout, last features, logits.

    Weights are followed as they come, not kept: a large image costs one layer's (N, N), not all.
    """

    def __init__(self, model: Backbone, images: Tensor) -> None:
        """images float (B, C, *size), normalised."""
        self.attention: list[Tensor] = []  # (B, heads, *grid) a layer: where its summary looks
        self.names: list[tuple[str, ...]] = []  # a layer each: of its heads, where they have names
        mixers = taps(model)
        with torch.inference_mode():
            embedded = model.embed(images)
            grid, prefix = embedded.grid, embedded.prefix.shape[1]
            flow: Tensor | None = None

            def see(layer: int, weights: Tensor) -> None:
                nonlocal flow
                self.names.append(mixers[layer].head_names)
                self.attention.append(patch_maps(weights, grid, prefix))
                flow = follow(flow, weights)

            with tapped(model, see):
                self.features = model.encode(embedded)
            self.logits = model.head(model.pool(self.features))
        assert flow is not None
        self.rollout = patch_maps(flow, grid, prefix)  # (B, *grid), through all layers

    @property
    def depth(self) -> int:
        """How many attention layers there are."""
        return len(self.attention)


def observe(model: Backbone, images: Tensor) -> AttentionTrace | list[Features]:
    """A `AttentionTrace`; of a model whose layers see windows or a changing grid, features of its stages.

    images float (B, C, *size), normalised. Stages are a pyramid's, or four blocks spread evenly.
    """
    try:
        return AttentionTrace(model, images)
    except TierError:
        depth = model.depth
        chosen = range(depth) if depth <= SHOWN else [depth * (i + 1) // 4 - 1 for i in range(4)]
        with torch.inference_mode():
            return model.intermediates(images, chosen)


def patch_maps(
    weights: Tensor,
    grid: tuple[int, ...],
    prefix: int,
    query: str | tuple[int, ...] | None = None,
) -> Tensor:
    """Who looks at each patch: weights (..., N, N) → (..., *grid).

    query: "class", the first prefix token; "mean", the patches' average; a place in the grid, such
    as (row, column). None takes the class token where there is a prefix, else the mean.

    Raises `TierError` for weights of a layer that looks at windows, or frames one by one.
    """
    if weights.shape[-1] != prefix + math.prod(grid):
        raise TierError(
            f"this layer looks at {weights.shape[-1]} tokens at a time, not at all of the grid "
            f"{' x '.join(map(str, grid))}: `record` gives what it sees."
        )
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
        for place, size in zip(query, grid, strict=True):
            token = token * size + pick([place], size, "row or column")[0]
        rows = weights[..., prefix + token, :]
    else:
        raise ConfigError(f'query={query!r} is not "class", "mean" or a place in the grid {grid}.')
    return rows[..., prefix:].unflatten(-1, grid)


def pick(wanted: Sequence[int], count: int, what: str) -> list[int]:
    """Numbers from 0, sorted, each once; negative ones count back."""
    for number in wanted:
        if not -count <= number < count:
            raise ConfigError(f"{what} {number} is not there: there are 0 to {count - 1}.")
    return sorted({number % count for number in wanted})
