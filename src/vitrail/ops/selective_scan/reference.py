"""The selective scan as its paper writes it, one token after the other, in any precision."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError
from vitrail.ops.guard import guarded


class Scan(NamedTuple):
    """The inputs of a selective scan in K directions.

    Tokens are in their own order for every direction.

    Attributes:
        u: signal (K, B, L, D).
        delta: step sizes (K, B, L, D), before `bias` and softplus.
        A: decay rates (K, D, N), negative.
        B: input weights of the states (K, B, L, N).
        C: output weights of the states (K, B, L, N).
        D: weights of the skip connection (K, D).
        bias: bias of the step sizes (K, D).
        z: gate (B, L, D), shared by the directions; None for no gate.

    Example:
        >>> u, B, D = torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 3), torch.ones(1, 4)
        >>> scan = Scan(u, u, -torch.ones(1, 4, 3), B, B, D, D, None)
        >>> scan.sizes
        (1, 2, 5, 4, 3)
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    bias: Tensor
    z: Tensor | None

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """(K, B, L, D, N)."""
        return (*self.u.shape, self.A.shape[-1])

    def exact(self) -> "Scan":
        """The same in the precision of states and sums: float64 if u is, else float32."""
        dtype = torch.promote_types(self.u.dtype, torch.float32)
        return self.map(lambda t: t.to(dtype))

    def direction(self, k: int) -> "Scan":
        """k, the index of a direction → the scan in that direction alone, with the gate."""
        return self._replace(z=None).map(lambda t: t[k : k + 1])._replace(z=self.z)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Scan":
        """function of a tensor → the scan with it applied to every tensor."""
        return Scan(*(None if t is None else function(t) for t in self))  # type: ignore[arg-type]


def scan_order(length: int, backwards: bool) -> range:
    """Indices of the tokens in the order of the scan.

    Args:
        length: number of tokens.
        backwards: whether the scan runs from the last token to the first.

    Returns:
        The indices.

    Example:
        >>> list(scan_order(3, backwards=True))
        [2, 1, 0]
    """
    return range(length - 1, -1, -1) if backwards else range(length)


def scan_states(scan: Scan, k: int, backwards: bool) -> dict[int, Tensor]:
    """The states of one direction after each token.

    Args:
        scan: the inputs.
        k: index of the direction.
        backwards: whether it runs from the last token to the first.

    Returns:
        By index of the token, the state (B, D, N); in the order of the scan.

    Example:
        >>> u, D = torch.ones(1, 1, 2, 1), torch.zeros(1, 1)
        >>> scan = Scan(u, u, -u[:, 0, :1], u, u, D, D, None)
        >>> list(scan_states(scan, 0, backwards=True))
        [1, 0]
    """
    step = F.softplus(scan.delta[k] + scan.bias[k])  # (B, L, D)
    signal, enter = (step * scan.u[k])[..., None], scan.B[k][:, :, None]
    states: dict[int, Tensor] = {}
    state = signal.new_zeros(())
    for t in scan_order(step.shape[1], backwards):
        state = torch.exp(step[:, t, :, None] * scan.A[k]) * state + signal[:, t] * enter[:, t]
        states[t] = state
    return states


def selective_scan_reference(scan: Scan, reverse: Sequence[bool]) -> Tensor:
    """The selective scan, slow; differentiable by autograd.

    Args:
        scan: the inputs.
        reverse: for each direction, whether it runs from the last token to the first.

    Returns:
        (B, L, D) in float64 if u is, else in float32.

    Example:
        >>> u, B, D = torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 3), torch.ones(1, 4)
        >>> scan = Scan(u, u, -torch.ones(1, 4, 3), B, B, D, D, None)
        >>> selective_scan_reference(scan, [False]).shape
        torch.Size([2, 5, 4])
    """
    scan = scan.exact()
    y = torch.zeros_like(scan.u[0])
    for k, backwards in enumerate(reverse):
        states = scan_states(scan, k, backwards)
        outputs = [(states[t] * scan.C[k][:, t, None]).sum(-1) for t in range(len(states))]
        y = y + torch.stack(outputs, dim=1) if outputs else y
        y = y + scan.D[k] * scan.u[k]
    return y if scan.z is None else y * F.silu(scan.z)


@guarded
def selective_scan_resume(scan: Scan, state: Tensor) -> tuple[Tensor, Tensor]:
    """The selective scan of the tokens after those that a state remembers, forward.

    Args:
        scan: the inputs of one direction.
        state: state before the first token (B, D, N).

    Returns:
        The output (B, L, D) in float64 if u is, else in float32, and the state after the last
        token.

    Raises:
        ConfigError: the scan has several directions.

    Example:
        >>> u, B, D = torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 3), torch.ones(1, 4)
        >>> scan = Scan(u, u, -torch.ones(1, 4, 3), B, B, D, D, None)
        >>> y, state = selective_scan_resume(scan, torch.zeros(2, 4, 3))
        >>> y.shape, state.shape
        (torch.Size([2, 5, 4]), torch.Size([2, 4, 3]))
    """
    if len(scan.u) != 1:
        raise ConfigError(f"a scan in {len(scan.u)} directions does not go on: give one direction.")
    scan = scan.exact()
    size = F.softplus(scan.delta[0] + scan.bias[0])  # (B, L, D)
    outputs = []
    tokens = (t.unbind(1) for t in (size, scan.u[0], scan.B[0], scan.C[0]))
    for step, u, B, C in zip(*tokens, strict=True):
        state = torch.exp(step[..., None] * scan.A[0]) * state
        state = state + (step * u)[..., None] * B[:, None]
        outputs.append((state * C[:, None]).sum(-1))
    y = scan.D[0] * scan.u[0]
    y = torch.stack(outputs, dim=1) + y if outputs else y
    return (y if scan.z is None else y * F.silu(scan.z)), state
