"""The selective scan for graphs that are exported to ONNX: one `Scan` node, of any length.

A custom operator means nothing outside PyTorch, and a loop in Python would be unrolled. PyTorch's
own scan becomes ONNX's. All directions take their steps together, those that run backwards on
flipped inputs, so a layer costs L steps however many directions it has. What a step does not need
to wait for (softplus, Δ u, the gate) is done for all tokens at once; the decays, N times as large,
are not, so that memory stays what the tokens take.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.ops.selective_scan.reference import Scan


def forward(scan: Scan, reverse: Sequence[bool]) -> Tensor:
    """→ (B, L, D). Without a gradient; in eager PyTorch it is slow: what counts is the export."""
    # Not at the top: torch keeps this in a private place, and only an export needs it.
    from torch._higher_order_ops.scan import scan_op

    # Detached: tracing the gradient of PyTorch's scan fails where sizes are not fixed.
    scan = Scan(*(None if t is None else t.detach() for t in scan.exact()))  # type: ignore[arg-type]
    directions, batch, _, dim, n = scan.sizes
    step = _softplus(scan.delta + scan.bias[:, None, None])
    # Side by side while they are put in the order of each direction's scan: fewer nodes.
    tokens = torch.cat([step, step * scan.u, scan.B, scan.C], dim=-1)
    ordered = torch.stack([_turned(t, way) for t, way in zip(tokens, reverse, strict=True)])
    step, signal, enter, read = ordered.permute(2, 0, 1, 3).split([dim, dim, n, n], dim=-1)
    rate = scan.A.transpose(1, 2).unsqueeze(1).contiguous()  # (K, 1, N, D)
    start = step.new_zeros(directions, batch, n, dim)
    every = [step.unsqueeze(3), signal.unsqueeze(3), enter.unsqueeze(4), read.unsqueeze(3)]
    found = scan_op(_step, [start], every, (rate,))[1].squeeze(3)  # (L, K, B, D)
    skip = scan.D[:, None, None] * scan.u
    parts = [_turned(found[:, k].transpose(0, 1), way) for k, way in enumerate(reverse)]
    y = sum([*parts[1:], *skip], start=parts[0])
    return y if scan.z is None else y * F.silu(scan.z)


def _turned(tokens: Tensor, backwards: bool) -> Tensor:
    """tokens (B, L, X), from the last to the first if `backwards`."""
    return tokens.flip(1) if backwards else tokens


def _step(
    state: Tensor, step: Tensor, signal: Tensor, enter: Tensor, read: Tensor, rate: Tensor
) -> list[Tensor]:
    """One token of every direction: state (K, B, N, D) → the next one, and (K, B, 1, D) read."""
    state = torch.exp(step * rate) * state + signal * enter
    return [state, torch.matmul(read, state)]


def _softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) from what runtimes vectorise: onnxruntime's Softplus takes 5 times as long.

    What rounding takes off 1 + y is put back, so that small steps keep all their digits.
    """
    y = torch.exp(-x.abs())
    rounded = 1 + y
    return x.relu() + (rounded.log() + (y - (rounded - 1)) / rounded)
