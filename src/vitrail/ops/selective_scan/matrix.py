"""The scan as the matrix it is: which token takes how much from which."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.ops.selective_scan.reference import Scan

BLOCK = 1 << 20  # numbers held at a time


def matrix(scan: Scan, k: int, backwards: bool) -> Tensor:
    """Direction k as matrices (B, D, L, L), one a channel: y = matrix @ u + D u, without the gate.

    Row t, column s is Σ_n C_t B_s Δ_s exp(A Σ Δ), the sum over what lies between them: the
    implicit attention of Ali et al. 2024, https://arxiv.org/abs/2403.01590. Large: `attention`
    never holds more than a few rows.
    """
    rows = [row for _, row in _rows(scan.exact(), k, backwards)]
    return torch.cat(rows, dim=1).permute(0, 3, 1, 2)


def attention(scan: Scan, k: int, backwards: bool) -> Tensor:
    """(B, L, L): magnitudes of `matrix` averaged over channels, rows summing to 1."""
    rows = [row.abs().mean(-1) for _, row in _rows(scan.exact(), k, backwards)]
    weights = torch.cat(rows, dim=1)
    return weights / weights.sum(-1, keepdim=True)


def _rows(scan: Scan, k: int, backwards: bool):  # type: ignore[no-untyped-def]
    """(first row, (B, rows, L, D)) of the matrix, a few rows at a time."""
    _, batch, length, dim, n = scan.sizes
    step = F.softplus(scan.delta[k] + scan.bias[k])
    # What lies between two tokens: a difference of running sums, kept exact for long sequences.
    total = step.double().cumsum(1)
    total = (total - step if backwards else total).to(torch.float64)
    rate = (scan.A[k] * math.log2(math.e)).t()  # (N, D)
    entering = scan.B[k][:, None] * scan.C[k].new_ones(1, 1, 1, 1)  # (B, 1, L, N)
    place = torch.arange(length, device=step.device)
    size = max(1, BLOCK // (batch * length * dim * n))
    for first in range(0, length, size):
        rows = slice(first, min(first + size, length))
        between = (total[:, rows, None] - total[:, None]).to(step.dtype)  # (B, rows, L, D)
        between = -between if backwards else between
        # Beyond 2 ** -80 nothing is left but denormal numbers, which a CPU is slow at.
        decay = (between.clamp(min=0).unsqueeze(3) * rate).clamp_(min=-80).exp2_()
        weights = scan.C[k][:, rows, None] * entering  # (B, rows, L, N)
        row = (weights.unsqueeze(3) @ decay).squeeze(3) * step[:, None]
        ahead = place[None] - place[rows, None]
        seen = ahead >= 0 if backwards else ahead <= 0
        yield first, row * seen[..., None]
