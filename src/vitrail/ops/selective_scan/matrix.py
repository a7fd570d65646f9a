"""The selective scan as a matrix, which says how much each token takes from which."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.ops.selective_scan.reference import Scan

BLOCK = 1 << 20  # numbers in memory at a time


def matrix(scan: Scan, k: int, backwards: bool) -> Tensor:
    """One direction of a scan as a matrix per channel: y = matrix @ u + D u, before the gate.

    Row t, column s is Σ_n C_t B_s Δ_s exp(A Σ Δ), where the inner sum is over the tokens after s up
    to t: the hidden attention of Ali et al. 2024, https://arxiv.org/abs/2403.01590. The result is
    large; `attention` needs only a few rows of it at a time.

    Args:
        scan: the inputs.
        k: index of the direction.
        backwards: whether it runs from the last token to the first.

    Returns:
        (B, D, L, L).

    Example:
        >>> u, B, D = torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 3), torch.ones(1, 4)
        >>> scan = Scan(u, u, -torch.ones(1, 4, 3), B, B, D, D, None)
        >>> matrix(scan, 0, backwards=False).shape
        torch.Size([2, 4, 5, 5])
    """
    rows = [row for _, row in _rows(scan.exact(), k, backwards)]
    return torch.cat(rows, dim=1).permute(0, 3, 1, 2)


def attention(scan: Scan, k: int, backwards: bool) -> Tensor:
    """Magnitudes of `matrix`, averaged over channels and normalized.

    Args:
        scan: the inputs.
        k: index of the direction.
        backwards: whether it runs from the last token to the first.

    Returns:
        (B, L, L), rows summing to 1.

    Example:
        >>> u, B, D = torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 3), torch.ones(1, 4)
        >>> scan = Scan(u, u, -torch.ones(1, 4, 3), B, B, D, D, None)
        >>> attention(scan, 0, backwards=False)[0, 0]
        tensor([1., 0., 0., 0., 0.])
    """
    rows = [row.abs().mean(-1) for _, row in _rows(scan.exact(), k, backwards)]
    weights = torch.cat(rows, dim=1)
    return weights / weights.sum(-1, keepdim=True)


def positive_contributions(scan: Scan, k: int, backwards: bool, gradient: Tensor) -> Tensor:
    """Mean over channels of (A ⊙ ∂s/∂A)⁺, where A is `matrix` and s a function of the output.

    A channel is a head whose values have one number, as Ali et al. 2024
    (https://arxiv.org/abs/2403.01590) look at it. So ∂s/∂A has in row t, column j the gradient of
    the output of t times the input of j.

    Args:
        scan: the inputs.
        k: index of the direction.
        backwards: whether it runs from the last token to the first.
        gradient: ∂s/∂y (B, L, D), of the output before the gate.

    Returns:
        (B, L, L).

    Example:
        >>> u, B, D = torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 3), torch.ones(1, 4)
        >>> scan = Scan(u, u, -torch.ones(1, 4, 3), B, B, D, D, None)
        >>> positive_contributions(scan, 0, False, -torch.ones(2, 5, 4)).sum()
        tensor(0.)
    """
    scan = scan.exact()
    u, gradient = scan.u[k], gradient.to(scan.u.dtype)
    rows = []
    for first, row in _rows(scan, k, backwards):
        of_entries = gradient[:, first : first + row.shape[1], None] * u[:, None]
        rows.append((row * of_entries).clamp_(min=0).mean(-1))
    return torch.cat(rows, dim=1)


def _rows(scan: Scan, k: int, backwards: bool) -> Iterator[tuple[int, Tensor]]:
    """(first row, rows (B, rows, L, D)) of the matrix, a few rows at a time."""
    _, batch, length, dim, n = scan.sizes
    step = F.softplus(scan.delta[k] + scan.bias[k])
    # Sums between two tokens are differences of running sums, in float64 for long sequences.
    total = step.double().cumsum(1)
    total = (total - step if backwards else total).to(torch.float64)
    rate = (scan.A[k] * math.log2(math.e)).t()  # (N, D)
    enter = scan.B[k][:, None] * scan.C[k].new_ones(1, 1, 1, 1)  # (B, 1, L, N)
    index = torch.arange(length, device=step.device)
    size = max(1, BLOCK // max(1, batch * length * dim * n))
    for first in range(0, max(1, length), size):  # rows of an empty sequence have a shape, too
        rows = slice(first, min(first + size, length))
        between = (total[:, rows, None] - total[:, None]).to(step.dtype)  # (B, rows, L, D)
        between = -between if backwards else between
        # Clamped at 2 ** -80: denormal numbers, which are slow on a CPU, are never reached.
        decay = (between.clamp(min=0).unsqueeze(3) * rate).clamp_(min=-80).exp2_()
        weights = scan.C[k][:, rows, None] * enter  # (B, rows, L, N)
        row = (weights.unsqueeze(3) @ decay).squeeze(3) * step[:, None]
        offset = index[None] - index[rows, None]
        visible = offset >= 0 if backwards else offset <= 0
        yield first, row * visible[..., None]
