"""Attention rollout (Abnar & Zuidema 2020, https://arxiv.org/abs/2005.00928)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrail.errors import TierError, check_choice


def rollout(maps: Sequence[Tensor], *, fusion: str = "mean", residual: float = 0.5) -> Tensor:
    """Attention followed through all layers: which inputs reach each output token.

    maps: one (B, heads, N, N) a layer, first layer first. Heads are fused by "mean", "max" or
    "min"; `residual` is the part that skips each layer. Returns (B, N, N), rows summing to 1.
    """
    flow = follow(None, maps[0], fusion, residual)
    for weights in maps[1:]:
        flow = follow(flow, weights, fusion, residual)
    return flow


def follow(
    flow: Tensor | None, weights: Tensor, fusion: str = "mean", residual: float = 0.5
) -> Tensor:
    """One more layer, (B, heads, N, N), on top of the flow (B, N, N) so far; None: the first."""
    check_choice("fusion", fusion, ("mean", "max", "min"))
    if weights.shape[-2] != weights.shape[-1]:
        raise TierError(
            f"rollout needs the same tokens in every layer; in one, {weights.shape[-2]} look at "
            f"{weights.shape[-1]} others."
        )
    fused = weights.mean(1) if fusion == "mean" else getattr(weights, f"a{fusion}")(1)
    fused = fused / fused.sum(-1, keepdim=True)
    identity = torch.eye(fused.shape[-1], dtype=fused.dtype, device=fused.device)
    step = residual * identity + (1 - residual) * fused
    if flow is None:
        return step
    if flow.shape != step.shape:
        raise TierError(
            f"rollout needs the same tokens in every layer; one has {step.shape[-1]} "
            f"after {flow.shape[-1]}."
        )
    return step @ flow
