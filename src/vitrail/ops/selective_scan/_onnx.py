"""The selective scan for graphs that are exported to ONNX: one `Scan` node, for any length.

Other runtimes do not know a custom operator, and a loop in Python would be unrolled, so PyTorch's
own scan is used, which becomes ONNX's. All directions take their steps together, backward ones on
flipped inputs, so a layer costs L steps however many directions it has. What does not depend on
the state (softplus, Δ u, the gate) is computed for all tokens at once, except the decays: they are
N times as large as the tokens.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.ops.selective_scan.reference import Scan


def forward(scan: Scan, reverse: Sequence[bool]) -> Tensor:
    """scan, reverse (K) → (B, L, D), without a gradient; slow outside an exported graph."""
    # private: PyTorch has no public scan yet, and without it no Vision Mamba is exported
    # (tests/deploy/test_export.py). Imported here, because only an export needs it.
    from torch._higher_order_ops.scan import scan_op

    # Detached, because tracing the gradient of PyTorch's scan fails for dynamic sizes.
    scan = Scan(*(None if t is None else t.detach() for t in scan.exact()))  # type: ignore[arg-type]
    directions, batch, _, dim, n = scan.sizes
    step = _softplus(scan.delta + scan.bias[:, None, None])
    # Concatenated while they are put into the order of each direction, for fewer nodes.
    tokens = torch.cat([step, step * scan.u, scan.B, scan.C], dim=-1)
    ordered = torch.stack([_flip(t, back) for t, back in zip(tokens, reverse, strict=True)])
    step, signal, enter, read = ordered.permute(2, 0, 1, 3).split([dim, dim, n, n], dim=-1)
    rate = scan.A.transpose(1, 2).unsqueeze(1).contiguous()  # (K, 1, N, D)
    start = torch.zeros((), dtype=step.dtype, device=step.device)
    start = start.expand(directions, batch, n, dim).clone()
    inputs = [step.unsqueeze(3), signal.unsqueeze(3), enter.unsqueeze(4), read.unsqueeze(3)]
    outputs = scan_op(_step, [start], inputs, (rate,))[1].squeeze(3)  # (L, K, B, D)
    skip = scan.D[:, None, None] * scan.u
    parts = [_flip(outputs[:, k].transpose(0, 1), back) for k, back in enumerate(reverse)]
    y = sum([*parts[1:], *skip], start=parts[0])
    return y if scan.z is None else y * F.silu(scan.z)


def _flip(tokens: Tensor, backwards: bool) -> Tensor:
    """tokens (B, L, X) → the same, from the last to the first if `backwards`."""
    return tokens.flip(1) if backwards else tokens


def _step(
    state: Tensor, step: Tensor, signal: Tensor, enter: Tensor, read: Tensor, rate: Tensor
) -> list[Tensor]:
    """One token of every direction: state (K, B, N, D) → the next state, output (K, B, 1, D)."""
    state = torch.exp(step * rate) * state + signal * enter
    return [state, torch.matmul(read, state)]


def _softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) by operators that runtimes vectorize.

    onnxruntime's Softplus takes five times as long.
    The rounding error of 1 + y is added back, so that small steps keep all their digits.
    """
    y = torch.exp(-x.abs())
    rounded = 1 + y
    return x.relu() + (rounded.log() + (y - (rounded - 1)) / rounded)
