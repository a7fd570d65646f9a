"""Attention rollout (Abnar & Zuidema 2020, https://arxiv.org/abs/2005.00928)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vitrail.errors import check_choice


def rollout(maps: Sequence[Tensor], *, fusion: str = "mean", residual: float = 0.5) -> Tensor:
    """Attention followed through all layers: which inputs reach each output token.

    maps: one (B, heads, N, N) a layer, first layer first. Heads are fused by "mean", "max" or
    "min"; `residual` is the part that skips each layer. Returns (B, N, N), rows summing to 1.
    """
    check_choice("fusion", fusion, ("mean", "max", "min"))
    size = maps[0].shape[-1]
    identity = torch.eye(size, dtype=maps[0].dtype, device=maps[0].device)
    flow = identity.expand(maps[0].shape[0], -1, -1)
    for weights in maps:
        fused = weights.mean(1) if fusion == "mean" else getattr(weights, f"a{fusion}")(1)
        fused = fused / fused.sum(-1, keepdim=True)
        flow = (residual * identity + (1 - residual) * fused) @ flow
    return flow
