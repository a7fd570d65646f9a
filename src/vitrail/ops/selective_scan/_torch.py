"""The selective scan in plain PyTorch, for any device and for float64.

It is fast on a CPU because of exp2 instead of exp (PyTorch vectorizes it better), of states in the
layout (B, N, D), so that the inner loop runs over D, and of blocks of tokens that fit the cache:
one fused multiply-add per token, everything else batched over the block. The backward pass computes
the states anew from those saved every `CHUNK` tokens. A direction that runs backwards counts
backwards; nothing is flipped.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.ops.selective_scan.reference import Scan, scan_order

CHUNK = 64  # tokens between two saved states, in all backends
LOG2E = math.log2(math.e)
CACHE = 1 << 20  # bytes of states in a block: the size of a core's second-level cache


class _Direction(NamedTuple):
    """One direction, time first, so that a block of tokens is a slice."""

    step: Tensor  # (L, B, D), softplus applied
    signal: Tensor  # (L, B, D): step * u
    rate: Tensor  # (N, D): A / ln 2
    enter: Tensor  # (L, B, N)
    read: Tensor  # (L, B, N)
    backwards: bool

    def tokens(self, i0: int, i1: int) -> slice:
        """The tokens of steps i0 to i1 of the scan."""
        length = len(self.step)
        return slice(length - i1, length - i0) if self.backwards else slice(i0, i1)

    def decay(self, at: slice, out: Tensor) -> Tensor:
        """exp(step * A) of a block, (T, B, N, D)."""
        return torch.mul(self.step[at].unsqueeze(2), self.rate, out=out).exp2_()

    def run(self, at: slice, state: Tensor, decay: Tensor, states: Tensor) -> Tensor:
        """Fills `states` with the states after each token of a block; returns the last."""
        torch.mul(self.signal[at].unsqueeze(2), self.enter[at].unsqueeze(3), out=states)
        for t in scan_order(len(states), self.backwards):
            states[t].addcmul_(decay[t], state)
            state = states[t]
        return state


def _direction(scan: Scan, k: int, backwards: bool) -> _Direction:
    step = F.softplus(scan.delta[k] + scan.bias[k])
    first = [t.transpose(0, 1) for t in (step, step * scan.u[k], scan.B[k], scan.C[k])]
    rate = (scan.A[k] * LOG2E).t().contiguous()
    return _Direction(first[0], first[1], rate, first[2], first[3], backwards)


def _blocks(length: int, state: Tensor) -> Iterator[tuple[int, int, int]]:
    """(chunk, i0, i1): blocks of steps i0 to i1 that fit the cache, within one chunk."""
    size = CHUNK
    if state.device.type == "cpu":
        size = min(16, max(1, CACHE // max(1, state.numel() * state.element_size())))
    for chunk in range(-(-length // CHUNK)):
        end = min(chunk * CHUNK + CHUNK, length)
        for i0 in range(chunk * CHUNK, end, size):
            yield chunk, i0, min(i0 + size, end)


def forward(scan: Scan, reverse: Sequence[bool], save: bool) -> tuple[Tensor, Tensor, Tensor]:
    """scan, reverse (K) → output (B, L, D); to `save`: sum before the gate, states per `CHUNK`."""
    directions, batch, length, dim, n = scan.sizes
    scan = scan.exact()
    u = scan.u
    chunks = -(-length // CHUNK) if save else 0
    saved = u.new_empty(directions, batch, chunks, n, dim)
    total = u.new_zeros(length, batch, dim)
    read = u.new_empty(length, batch, 1, dim)
    for k, backwards in enumerate(reverse):
        run = _direction(scan, k, backwards)
        state = u.new_zeros(batch, n, dim)
        buffers = u.new_empty(0)
        for chunk, i0, i1 in _blocks(length, state):
            if save and i0 == chunk * CHUNK:
                saved[k, :, chunk] = state
            size, at = i1 - i0, run.tokens(i0, i1)
            if len(buffers) == 0:
                buffers = u.new_empty(2, size, batch, n, dim)
            decay, states = buffers[0, :size], buffers[1, :size]
            run.decay(at, out=decay)
            # Cloned, because the next block overwrites the buffer.
            state = run.run(at, state, decay, states).clone()
            weights = run.read[at].reshape(size * batch, 1, n)
            torch.bmm(weights, states.view(-1, n, dim), out=read[at].view(-1, 1, dim))
        total += read.squeeze(2)
        total += (scan.D[k] * scan.u[k]).transpose(0, 1)
    y = total.transpose(0, 1).contiguous()
    if scan.z is None:
        return y, u.new_empty(0), saved.flatten()
    return y * F.silu(scan.z), y if save else u.new_empty(0), saved.flatten()


def backward(
    grad: Tensor, scan: Scan, reverse: Sequence[bool], total: Tensor, saved: Tensor
) -> tuple[Tensor | None, ...]:
    """grad (B, L, D), the arguments and results of `forward` → gradients in the order of `Scan`."""
    batch, dim, n = scan.sizes[1], scan.sizes[3], scan.sizes[4]
    scan, grad_z = scan.exact(), None
    grad = grad.to(scan.u.dtype)
    if scan.z is not None:
        sigmoid = scan.z.sigmoid()
        grad_z = grad * total * sigmoid * (1 + scan.z * (1 - sigmoid))
        grad = grad * scan.z * sigmoid
    entries = saved.view(len(reverse), batch, -(-scan.sizes[2] // CHUNK), n, dim)
    each = [
        _backward_direction(grad, scan, k, backwards, entries[k])
        for k, backwards in enumerate(reverse)
    ]
    return (*(torch.stack(parts) for parts in zip(*each, strict=True)), grad_z)


def _backward_direction(
    grad: Tensor, scan: Scan, k: int, backwards: bool, entry: Tensor
) -> tuple[Tensor, ...]:
    """The seven gradients of one direction.

    grad: (B, L, D), of the sum before the gate. entry: (B, chunks, N, D), the states before each
    chunk.
    """
    batch, length, dim, n = scan.sizes[1:]
    run, g = _direction(scan, k, backwards), grad.transpose(0, 1)
    empty, flow = g.new_empty, g.new_zeros(batch, n, dim)  # flow: gradient of the state
    d_enter, d_read = empty(length, batch, n), empty(length, batch, n)
    d_signal, d_step = empty(length, batch, dim), empty(length, batch, dim)
    d_rate = g.new_zeros(n, dim)
    # One entry more than a chunk, at the end where its first state enters.
    size = min(CHUNK, length)
    memory, decays = empty(size + 1, batch, n, dim), empty(size, batch, n, dim)
    by_chunk: dict[int, list[tuple[int, int]]] = {}
    for chunk, i0, i1 in _blocks(length, flow):
        by_chunk.setdefault(chunk, []).append((i0, i1))
    buffer = empty(max(i1 - i0 for blocks in by_chunk.values() for i0, i1 in blocks), *flow.shape)
    for chunk, blocks in reversed(by_chunk.items()):
        first, count = chunk * CHUNK, min(CHUNK, length - chunk * CHUNK)
        base = run.tokens(first, first + count).start
        after = memory[:count] if backwards else memory[1 : count + 1]
        before = memory[1 : count + 1] if backwards else memory[:count]
        before[count - 1 if backwards else 0] = state = entry[:, chunk]
        for i0, i1 in blocks:
            at = run.tokens(i0, i1)
            inside = slice(at.start - base, at.stop - base)
            run.decay(at, out=decays[inside])
            state = run.run(at, state, decays[inside], after[inside])
        for i0, i1 in reversed(blocks):
            at = run.tokens(i0, i1)
            inside, many = slice(at.start - base, at.stop - base), i1 - i0
            decay, d_state = decays[inside], buffer[:many]
            torch.mul(g[at].unsqueeze(2), run.read[at].unsqueeze(3), out=d_state)
            later = None
            for t in reversed(scan_order(many, backwards)):
                if later is None:
                    d_state[t].add_(flow)
                else:
                    d_state[t].addcmul_(decay[later], d_state[later])
                later = t
            flow = d_state[later] * decay[later]
            flat, rows = d_state.view(-1, n, dim), many * batch
            g_at, signal = g[at].reshape(rows, dim, 1), run.signal[at].reshape(rows, dim, 1)
            d_read[at] = torch.bmm(after[inside].view(-1, n, dim), g_at).view(many, batch, n)
            d_enter[at] = torch.bmm(flat, signal).view(many, batch, n)
            enter = run.enter[at].reshape(rows, 1, n)
            d_signal[at] = torch.bmm(enter, flat).view(many, batch, dim)
            d_state.mul_(decay).mul_(before[inside])  # gradient of step * A
            torch.mul(d_state, run.step[at].unsqueeze(2), out=decay)
            d_rate += decay.sum((0, 1))
            torch.sum(d_state.mul_(run.rate), 2, out=d_step[at])
    u, tokens = scan.u[k], [t.transpose(0, 1) for t in (d_signal, d_step, d_enter, d_read)]
    d_delta = tokens[0] * u + tokens[1] / LOG2E
    d_delta = d_delta * torch.sigmoid(scan.delta[k] + scan.bias[k])
    d_u = tokens[0] * run.step.transpose(0, 1) + grad * scan.D[k]
    d_skip = (grad * u).sum((0, 1))
    return d_u, d_delta, d_rate.t(), tokens[2], tokens[3], d_skip, d_delta.sum((0, 1))
