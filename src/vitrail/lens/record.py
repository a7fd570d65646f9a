"""Recording what every `Attend` in a model attends to."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, TierError
from vitrail.layers.attend import Attend
from vitrail.models.base import Backbone

Maps = dict[int, Tensor]  # layer → weights (B, heads, N, N): row i is where token i looks


@contextlib.contextmanager
def record(model: nn.Module, layers: Sequence[int] | None = None) -> Iterator[Maps]:
    """Records attention while inside, without changing the model's output.

        with record(model) as maps:
            model(images)
        maps[11]  # (B, heads, N, N); tokens are prefix first, then patches row by row

    layers: count attention layers from 0; negative ones count back; None records all. The last
    forward counts. Raises `TierError` for a model that has no softmax attention.
    """
    taps = [module for module in model.modules() if isinstance(module, Attend)]
    if not taps:
        raise TierError(f"{type(model).__name__} has no attention to record.")
    if layers is not None and (bad := [n for n in layers if not -len(taps) <= n < len(taps)]):
        raise ConfigError(
            f"layer {bad[0]} is not there: attention layers are 0 to {len(taps) - 1}."
        )
    chosen = range(len(taps)) if layers is None else sorted({n % len(taps) for n in layers})
    maps: Maps = {}

    def keep(layer: int, weights: Tensor) -> None:
        maps[layer] = weights.detach()

    before = [tap.tap for tap in taps]
    try:
        for layer in chosen:
            taps[layer].tap = lambda weights, layer=layer: keep(layer, weights)
        yield maps
    finally:
        for tap, old in zip(taps, before, strict=True):
            tap.tap = old


class Look:
    """One forward pass, looked at: attention of every layer, last features, and the grid."""

    def __init__(self, model: Backbone, images: Tensor) -> None:
        """images float (B, C, H, W), normalised."""
        with torch.inference_mode(), record(model) as self.maps:
            self.features = model.features(images)
            self.logits = model.head(model.pool(self.features))
        self.grid = self.features.grid
        self.prefix = self.features.prefix.shape[1]

    def attention(self, layer: int) -> Tensor:
        """Where a layer's summary looks: (B, heads, H, W)."""
        return to_grid(self.maps[layer % len(self.maps)], self.grid, self.prefix)


def to_grid(weights: Tensor, grid: tuple[int, ...], prefix: int) -> Tensor:
    """What the class token pays each patch, or the mean patch where there is no class token.

    weights (..., N, N) → (..., *grid).
    """
    rows = weights[..., 0, prefix:] if prefix else weights.mean(dim=-2)
    return rows.unflatten(-1, grid)
