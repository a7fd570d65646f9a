"""Attention rollout (Abnar & Zuidema 2020, https://arxiv.org/abs/2005.00928)."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.errors import ConfigError, TierError, check_choice
from vitrail.lens.layer_keys import Maps
from vitrail.values import Fraction

Fusion = Literal["mean", "max", "min"]


@checked
def rollout(
    maps: Sequence[Annotated[Tensor, Axes(4)]] | Maps,
    *,
    fusion: Fusion = "mean",
    residual: Fraction = 0.5,
) -> Tensor:
    """Attention rollout (Abnar & Zuidema 2020): attention multiplied through all layers.

    The weights of layer l are fused over heads and mixed with the identity, which stands for the
    residual connection: Ã = residual · I + (1 - residual) · fused. The result is Ã_L ⋯ Ã_2 Ã_1.

    Args:
        maps: attention weights (B, heads, N, N) of each layer, the first layer first, or what
            `vitrail.record` gave.
        fusion: how heads are fused: "mean" (the paper's), "max" or "min". Rows are normalized to
            sum to 1 afterwards.
        residual: fraction (0 to 1) that the residual connection carries; the paper's is 0.5.

    Returns:
        (B, N, N); entry (i, j) is how much output token i takes from input token j. Rows sum to 1.

    Raises:
        ConfigError: `fusion` is unknown, or there are no layers.
        TierError: layers see different numbers of tokens.

    Example:
        >>> maps = [torch.full((1, 2, 3, 3), 1 / 3)] * 2
        >>> rollout(maps)[0, 0]
        tensor([0.5000, 0.2500, 0.2500])
    """
    layers = list(maps.values()) if isinstance(maps, Maps) else maps
    if not len(layers):
        raise ConfigError("maps=[] has no layer: give the attention weights of each layer.")
    flow = extend_rollout(None, layers[0], fusion, residual)
    for weights in layers[1:]:
        flow = extend_rollout(flow, weights, fusion, residual)
    return flow


def extend_rollout(
    flow: Tensor | None, weights: Tensor, fusion: Fusion = "mean", residual: float = 0.5
) -> Tensor:
    """The rollout of the layers so far, extended by one layer.

    Args:
        flow: rollout (B, N, N) of the layers before; None for the first layer.
        weights: attention weights (B, heads, N, N) of this layer.
        fusion: how heads are fused, as in `rollout`.
        residual: fraction that the residual connection carries, as in `rollout`.

    Returns:
        (B, N, N), rows summing to 1.

    Raises:
        ConfigError: `fusion` is unknown.
        TierError: the weights are not square, or of another size than the flow.

    Example:
        >>> extend_rollout(None, torch.eye(2)[None, None])[0]
        tensor([[1., 0.],
                [0., 1.]])
    """
    check_choice("fusion", fusion, ("mean", "max", "min"))
    if weights.shape[-2] != weights.shape[-1]:
        raise TierError(
            f"rollout needs the same tokens in every layer; in one, {weights.shape[-2]} queries "
            f"attend to {weights.shape[-1]} keys."
        )
    if fusion == "mean":
        fused = weights.mean(1)
    else:
        fused = weights.amax(1) if fusion == "max" else weights.amin(1)
    fused = fused / fused.sum(-1, keepdim=True)
    identity = torch.eye(fused.shape[-1], dtype=fused.dtype, device=fused.device)
    layer = residual * identity + (1 - residual) * fused
    if flow is None:
        return layer
    if flow.shape != layer.shape:
        raise TierError(
            f"rollout needs the same tokens in every layer; one has {layer.shape[-1]} "
            f"after {flow.shape[-1]}."
        )
    return layer @ flow
