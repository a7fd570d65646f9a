"""The selective scan as the paper writes it: one token after the other, in any precision."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Scan(NamedTuple):
    """What K directions of a scan read. Tokens stand in their own order for every direction."""

    u: Tensor  # (K, B, L, D): the signal
    delta: Tensor  # (K, B, L, D): step sizes, before bias and softplus
    A: Tensor  # (K, D, N): negative; how fast each state forgets
    B: Tensor  # (K, B, L, N): what enters the states
    C: Tensor  # (K, B, L, N): what is read from them
    D: Tensor  # (K, D): what skips them
    bias: Tensor  # (K, D): of the step sizes
    z: Tensor | None  # (B, L, D): the gate, shared by all directions; None: no gate

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """(K, B, L, D, N)."""
        return (*self.u.shape, self.A.shape[-1])

    def exact(self) -> "Scan":
        """In the precision of states and sums: float64 if the signal is, else float32."""
        dtype = torch.promote_types(self.u.dtype, torch.float32)
        return self.map(lambda t: t.to(dtype))

    def map(self, change: Callable[[Tensor], Tensor]) -> "Scan":
        """Every tensor changed."""
        return Scan(*(None if t is None else change(t) for t in self))  # type: ignore[arg-type]


def order(length: int, backwards: bool) -> range:
    """The places of the tokens in the order of the scan."""
    return range(length - 1, -1, -1) if backwards else range(length)


def states(scan: Scan, k: int, backwards: bool) -> dict[int, Tensor]:
    """The state (B, D, N) of direction k after each place, keyed in the order of the scan."""
    step = F.softplus(scan.delta[k] + scan.bias[k])  # (B, L, D)
    signal, enter = (step * scan.u[k])[..., None], scan.B[k][:, :, None]
    found: dict[int, Tensor] = {}
    state = torch.zeros_like(signal[:, 0] * enter[:, 0])
    for t in order(step.shape[1], backwards):
        state = torch.exp(step[:, t, :, None] * scan.A[k]) * state + signal[:, t] * enter[:, t]
        found[t] = state
    return found


def forward(scan: Scan, reverse: Sequence[bool]) -> Tensor:
    """→ (B, L, D). Differentiable by autograd, and slow."""
    scan = scan.exact()
    y = torch.zeros_like(scan.u[0])
    for k, backwards in enumerate(reverse):
        found = states(scan, k, backwards)
        read = [(found[t] * scan.C[k][:, t, None]).sum(-1) for t in range(len(found))]
        y = y + torch.stack(read, dim=1) + scan.D[k] * scan.u[k]
    return y if scan.z is None else y * F.silu(scan.z)


def step(scan: Scan, state: Tensor) -> tuple[Tensor, Tensor]:
    """One token, forward: `scan` with K = L = 1, state (B, D, N) → output (B, D), new state."""
    size = F.softplus(scan.delta[0, :, 0] + scan.bias[0])[..., None]  # (B, D, 1)
    state = torch.exp(size * scan.A[0]) * state
    state = state + size * scan.u[0, :, 0, :, None] * scan.B[0, :, 0, None]
    y = (state * scan.C[0, :, 0, None]).sum(-1) + scan.D[0] * scan.u[0, :, 0]
    return (y if scan.z is None else y * F.silu(scan.z[:, 0])), state
