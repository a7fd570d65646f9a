"""The selective scan on a CPU: memory and tasks for the kernels in `_kernels.py`.

They are compiled by numba at the first use on a machine, and kept: see `ops/_machine_code.py`.
"""

import array
import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.ops import _vectors
from vitrail.ops._machine_code import machine_code
from vitrail.ops._vectors import LOG2E, WIDTH
from vitrail.ops.selective_scan._torch import CHUNK
from vitrail.ops.selective_scan.reference import Scan
from vitrail.ops.threads import run_tasks

STATES = 4  # at most, in registers at a time: as many lane sums make half a vector
TASKS = 32  # at least, if there are enough blocks

# One direction: its first token is `start`, the next one is `stride` further.
PASS = _vectors.record(
    "start stride adds u u_batch u_token delta delta_batch delta_token "
    "enter enter_batch enter_token read read_batch read_token rates skip bias "
    "saved d_u d_delta d_rates d_enter d_read d_skip d_bias"
)
# Values that all directions share.
CALL = _vectors.record(
    "length dim states saved_batch saved_chunk z z_batch z_token total out "
    "d_z grad grad_batch grad_token blocks row"
)
VECTORS = 6  # stored per token of a chunk
_code = functools.partial(machine_code, f"{__package__}._kernels")


def vectors(states: int, count: int) -> int:
    """Vectors of memory in the backward pass, but for the gradients of all tokens."""
    return states + CHUNK * VECTORS + (2 * CHUNK + 1) * count


class _Prepared:
    """Inputs in the layout of the kernels, and the records that point to them."""

    def __init__(self, scan: Scan, reverse: Sequence[bool]) -> None:
        dim, n = scan.sizes[3:]
        scan = scan.exact()
        if pad := -dim % WIDTH:  # zeros, whose gradients are cut off
            names = [f for f in ("u", "delta", "D", "bias", "z") if getattr(scan, f) is not None]
            wide = {name: F.pad(getattr(scan, name), (0, pad)) for name in names}
            scan = scan._replace(A=F.pad(scan.A, (0, 0, 0, pad)), **wide)
        scan = scan.map(lambda t: t if t.stride(-1) == 1 else t.contiguous())
        rates = np.ascontiguousarray(scan.A.detach().numpy().swapaxes(1, 2)) * np.float32(LOG2E)
        self.rates = torch.from_numpy(rates)  # (K, N, D), so that exp(step A) is a power of 2
        # States are not padded, because infinities would become NaN in the additional ones.
        count = max(count for count in range(1, STATES + 1) if n % count == 0)
        self.scan, self.reverse, self.count = scan, reverse, count  # states in registers

    def passes(self, *more: Tensor) -> "array.array[int]":
        """One record per direction; `more` are the tensors of its last fields, in their order."""
        scan, length, rows = self.scan, self.scan.sizes[2], []
        for k, backwards in enumerate(self.reverse):
            start, stride = (length - 1, -1) if backwards else (0, 1)
            fields = [start, stride, int(k > 0)]
            for t in (scan.u, scan.delta, scan.B, scan.C):
                direction, image, token = (4 * s for s in t.stride()[:3])
                fields += (t.data_ptr() + k * direction + start * token, image, stride * token)
            for t in (self.rates, scan.D, scan.bias, *more):
                fields.append(t.data_ptr() + 4 * k * t.stride(0))
            rows.append(fields)
        return _vectors.records(PASS, rows)

    def call(self, *more: int) -> "array.array[int]":
        """The record that the directions share; `more` are its last fields."""
        _, _, length, dim, n = self.scan.sizes
        chunk = 4 * n * dim
        z = (0, 0, 0) if self.scan.z is None else _layout(self.scan.z)
        fields = [length, dim, n, -(-length // CHUNK) * chunk, chunk, *z, *more]
        return _vectors.records(CALL, [fields])


def _layout(t: Tensor) -> tuple[int, int, int]:
    """t (B, L, D) → its address, bytes between images, bytes between tokens."""
    return t.data_ptr(), 4 * t.stride(0), 4 * t.stride(1)


def _zeros(*shape: int) -> Tensor:  # NumPy's: PyTorch's threads would keep spinning afterwards
    return torch.from_numpy(np.zeros(shape, np.float32))


def _sum(t: Tensor, dim: int) -> Tensor:
    return t.squeeze(dim) if t.shape[dim] == 1 else torch.from_numpy(t.numpy().sum(dim))


def forward(scan: Scan, reverse: Sequence[bool], save: bool) -> tuple[Tensor, Tensor, Tensor]:
    """scan, reverse (K) → output (B, L, D); to `save`: sum before the gate, states per `CHUNK`."""
    ready, dim = _Prepared(scan, reverse), scan.sizes[3]
    k, batch, length, wide, n = ready.scan.sizes
    new = ready.scan.u.new_empty  # float32, whatever the default dtype and device are
    out, total, saved = new(batch, length, wide), new(0), new(0)
    if save:
        saved = new(k * batch * -(-length // CHUNK) * n * wide)
        total = torch.empty_like(out) if scan.z is not None else total
    passes = ready.passes(*[saved.view(k, -1)] * save)
    call = ready.call(total.data_ptr(), out.data_ptr())
    floats = (n + CHUNK * VECTORS) * WIDTH
    run_tasks(_code("forward", ready.count)(passes, k, call, floats), batch * (wide // WIDTH))
    if wide != dim:
        out, total = out[..., :dim].contiguous(), total[..., :dim].contiguous()
        saved = saved.view(-1, wide)[:, :dim].flatten()
    return out, total, saved


def backward(
    grad: Tensor, scan: Scan, reverse: Sequence[bool], total: Tensor, saved: Tensor
) -> tuple[Tensor | None, ...]:
    """grad (B, L, D), the arguments and results of `forward` → gradients in the order of `Scan`."""
    ready, dim = _Prepared(scan, reverse), scan.sizes[3]
    k, batch, length, wide, n = ready.scan.sizes
    grad = grad.float().contiguous()
    if wide != dim:
        grad, total, saved = (F.pad(t, (0, wide - dim)) for t in (grad, total, saved.view(-1, dim)))
    count, blocks = ready.count, wide // WIDTH
    each = max(1, min(blocks, -(-batch * blocks // TASKS)))  # blocks per task
    shares, row = -(-blocks // each), (n // count, STATES)
    new = ready.scan.u.new_empty
    d_u, d_delta = (new(k, batch, length, wide) for _ in range(2))
    d_enter, d_read = (_zeros(k, batch, shares, length, *row) for _ in range(2))
    d_rates, d_z = _zeros(k, batch, n, wide), torch.empty_like(total)
    d_skip, d_bias = (new(k, batch, wide) for _ in range(2))
    call = ready.call(total.data_ptr(), 0, d_z.data_ptr(), *_layout(grad), each, math.prod(row))
    passes = ready.passes(saved.view(k, -1), d_u, d_delta, d_rates, d_enter, d_read, d_skip, d_bias)
    floats = (vectors(n, count) + length) * WIDTH
    run_tasks(_code("backward", count)(passes, k, call, floats), batch * shares)
    d_B, d_C = (_sum(t, 2)[..., :count].flatten(3) for t in (d_enter, d_read))
    d_A, d_D, d_bias = (_sum(t, 1)[..., :dim] for t in (d_rates, d_skip, d_bias))
    grad_z = d_z[..., :dim] if scan.z is not None else None
    return d_u[..., :dim], d_delta[..., :dim], d_A.mT, d_B, d_C, d_D, d_bias, grad_z
