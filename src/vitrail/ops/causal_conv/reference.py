"""The causal convolution tap by tap, in any precision."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def forward(x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]) -> Tensor:
    """As `causal_conv`; differentiable by autograd."""
    taps, length = weight.shape[-1], x.shape[1]
    padded = F.pad(x, (0, 0, taps - 1, taps - 1))
    found = []
    for k, backwards in enumerate(reverse):
        total = bias[k]
        for tap in range(taps):
            # The last tap is the token itself, the one before it its predecessor in this direction.
            start = 2 * (taps - 1) - tap if backwards else tap
            total = total + weight[k, :, tap] * padded[:, start : start + length]
        found.append(F.silu(total))
    return torch.stack(found)


def step(window: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One token, forward: its window (B, D, taps), itself last, → (B, D)."""
    return F.silu((window * weight).sum(-1) + bias)
