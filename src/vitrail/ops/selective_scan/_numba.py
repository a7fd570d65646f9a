"""The selective scan on a CPU, compiled by numba at its first use and cached on disk.

A task is one image and some blocks of `WIDTH` adjacent channels, for all directions; threads share
the tasks. A block goes through its tokens in chunks: first the step sizes of a chunk, which take
long but do not depend on each other, so that a processor overlaps them; then the states, `STATES`
at a time, in registers.

The backward pass computes the states of a chunk anew, from the saved ones, and stores states and
decays in `history`. Gradients of B and C, to which all channels add, are summed over the blocks of
a task, in order, and then over tasks. Only sizes decide which blocks make a task, so gradients do
not depend on the number of threads.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import types
from torch import Tensor

from vitrail.ops import _simd as simd
from vitrail.ops._jit import jit
from vitrail.ops._simd import (
    BYTES,
    LOG2E,
    WIDTH,
    add,
    fetch,
    fma,
    load,
    load_states,
    mul,
    softplus_sigmoid,
    splat,
    store,
    store_states,
    vector_sigmoid,
    vector_softplus,
)  # fmt: skip
from vitrail.ops.selective_scan._torch import CHUNK
from vitrail.ops.selective_scan.reference import Scan
from vitrail.ops.threads import run_tasks

STATES = 4  # at most, in registers at a time: as many lane sums make half a vector
TASKS = 32  # at least, if there are enough blocks

# One direction: its first token is `start`, the next one is `stride` further.
PASS = simd.record(
    "start stride adds u u_batch u_token delta delta_batch delta_token "
    "enter enter_batch enter_token read read_batch read_token rates skip bias "
    "saved d_u d_delta d_rates d_enter d_read d_skip d_bias"
)
# Values that all directions share.
CALL = simd.record(
    "length dim states saved_batch saved_chunk z z_batch z_token total out "
    "d_z grad grad_batch grad_token blocks row"
)
# Offsets of the vectors stored per token of a chunk; the forward pass has STEP, SIGNAL and Y only.
STEP, SIGNAL, DERIVATIVE, INPUT, D_SIGNAL, D_STEP = (BYTES * i for i in range(6))
Y, TOKEN = 2 * BYTES, 6 * BYTES

f32 = np.float32


def _advance(b, states, rates, token, enter):  # type: ignore[no-untyped-def]
    """h = exp(step A) h + signal B for each state → decays, states."""
    step, signal = simd.read(b, token, STEP), simd.read(b, token, SIGNAL)
    decays, after = [], []
    for n, (h, rate) in enumerate(zip(*map(simd.unpack, (b, b), (states, rates)), strict=True)):
        decays.append(simd.exp2(b, b.fmul(step, rate)))
        entered = b.fmul(signal, simd.spread(b, simd.read_scalar(b, enter, 4 * n)))
        after.append(simd.fused(b, decays[n], h, entered))
    return decays, after


@simd.kernel_function(lambda states, *_: states)
def scan_step(b, states, rates, token, enter, read):  # type: ignore[no-untyped-def]
    """One token → the states after it; adds C h to the token's output."""
    y, (_, after) = simd.read(b, token, Y), _advance(b, states, rates, token, enter)
    for n, h in enumerate(after):
        y = simd.fused(b, h, simd.spread(b, simd.read_scalar(b, read, 4 * n)), y)
    simd.write(b, token, y, Y)
    return simd.pack_states(b, after)


@simd.kernel_function(lambda states, *_: states)
def replay_step(b, states, rates, token, enter, history):  # type: ignore[no-untyped-def]
    """`scan_step` without output; stores decays, and after them states, in `history`."""
    decays, after = _advance(b, states, rates, token, enter)
    for n, value in enumerate(decays + after):
        simd.write(b, history, value, BYTES * n)
    return simd.pack_states(b, after)


@simd.kernel_function(lambda flow, *_: types.Tuple((flow, flow, flow)))
def gradient_step(  # type: ignore[no-untyped-def]
    b, flow, d_rates, after, rates, out, token, enter, read, history, d_enter, d_read
):
    """One token backwards → gradient of the states before it, sums of rates, these states.

    Adds to the token's gradients of signal and step, and to its rows of the gradients of B and C.
    """
    count = flow.type.count
    d_rates, after, rates = (simd.unpack(b, t) for t in (d_rates, after, rates))
    step, signal = simd.read(b, token, STEP), simd.read(b, token, SIGNAL)
    d_signal, d_step = simd.read(b, token, D_SIGNAL), simd.read(b, token, D_STEP)
    before, before_flow, sums = [], [], [simd.constant(0.0)] * 8
    for n, into in enumerate(simd.unpack(b, flow)):
        before.append(simd.read(b, history, BYTES * (n - count)))
        decay = simd.read(b, history, BYTES * n)
        d = simd.fused(b, out, simd.spread(b, simd.read_scalar(b, read, 4 * n)), into)
        sums[n], sums[4 + n] = b.fmul(d, signal), b.fmul(out, after[n])
        weight = simd.spread(b, simd.read_scalar(b, enter, 4 * n))
        d_signal = simd.fused(b, d, weight, d_signal)
        before_flow.append(b.fmul(d, decay))
        d_exponent = b.fmul(before_flow[n], before[n])
        d_step = simd.fused(b, d_exponent, rates[n], d_step)
        d_rates[n] = simd.fused(b, d_exponent, step, d_rates[n])
    simd.write(b, token, d_signal, D_SIGNAL)
    simd.write(b, token, d_step, D_STEP)
    for address, four in zip((d_enter, d_read), simd.lane_sums(b, sums), strict=True):
        simd.write(b, address, b.fadd(four, simd.read(b, address, lanes=4)))
    kind = simd.ir.LiteralStructType([flow.type] * 3)
    return simd.pack(b, kind, [simd.pack_states(b, t) for t in (before_flow, d_rates, before)])


@jit
def _steps(p: Any, c: Any, image: int, d: int, first: int, last: int, at: int) -> None:
    """Stores step, signal and the like of the tokens from `first` to `last` at `at`."""
    u, delta = p.u + image * p.u_batch + 4 * d, p.delta + image * p.delta_batch + 4 * d
    u_token, delta_token = p.u_token, p.delta_token
    bias, zero, train = load(p.bias + 4 * d), splat(f32(0)), c.grad != 0
    ahead = -CHUNK if train else CHUNK  # the backward pass goes to an earlier chunk next
    for i in range(first, last):
        fetch(u + (i + ahead) * u_token)
        fetch(delta + (i + ahead) * delta_token)
        x, raw = load(u + i * u_token), add(load(delta + i * delta_token), bias)
        if train:
            step, derivative = softplus_sigmoid(raw)
            store(at + DERIVATIVE, derivative)
            store(at + INPUT, x)
            store(at + D_SIGNAL, zero)
            store(at + D_STEP, zero)
        else:
            step = vector_softplus(raw)
            store(at + Y, mul(load(p.skip + 4 * d), x))
        store(at + STEP, step)
        store(at + SIGNAL, mul(step, x))
        at += TOKEN


@jit
def _forward_pass(p: Any, c: Any, image: int, d: int, y: int, states: Any, carried: int) -> None:
    """One direction of a block, to or added to y; carried: memory for states, a chunk's tokens."""
    tokens = carried + c.states * BYTES
    for n in range(c.states):
        store(carried + n * BYTES, splat(f32(0)))
    enter_token, read_token, row = p.enter_token, p.read_token, 4 * c.dim * p.stride
    y += 4 * c.dim * p.start
    for first in range(0, c.length, CHUNK):
        last = min(first + CHUNK, c.length)
        _steps(p, c, image, d, first, last, tokens)
        for n in range(0, c.states, len(states)):
            h = load_states(states, carried + n * BYTES, BYTES)
            if p.saved != 0:
                saved = p.saved + image * c.saved_batch + first // CHUNK * c.saved_chunk
                store_states(saved + 4 * (n * c.dim + d), 4 * c.dim, h)
            at, rates = tokens, load_states(states, p.rates + 4 * (n * c.dim + d), 4 * c.dim)
            enter = p.enter + image * p.enter_batch + first * enter_token + 4 * n
            read = p.read + image * p.read_batch + first * read_token + 4 * n
            for _ in range(first, last):
                h = scan_step(h, rates, at, enter, read)
                at, enter, read = at + TOKEN, enter + enter_token, read + read_token
            store_states(carried + n * BYTES, BYTES, h)
        for i in range(last - first):
            sum_ = load(tokens + i * TOKEN + Y)
            store(y, add(sum_, load(y)) if p.adds else sum_)
            y += row


@jit
def _forward(start: int, stop: int, passes: Any, calls: Any, states: Any) -> None:
    """`states` is a tuple as long as the states in registers; only its type is used."""
    c = calls[0]
    memory = np.empty((c.states + CHUNK * (TOKEN // BYTES)) * WIDTH + 16, np.float32)
    scratch = (memory.ctypes.data + 63) & -64
    blocks, row = c.dim // WIDTH, 4 * c.dim
    for task in range(start, stop):
        image, d = task // blocks, task % blocks * WIDTH
        corner = 4 * (image * c.length * c.dim + d)
        y = (c.total if c.total != 0 else c.out) + corner
        for p in passes:
            _forward_pass(p, c, image, d, y, states, scratch)
        if c.z != 0:
            z, out = c.z + image * c.z_batch + 4 * d, c.out + corner
            for t in range(c.length):
                gate = load(z + t * c.z_token)
                store(out + t * row, mul(load(y + t * row), mul(gate, vector_sigmoid(gate))))


@jit
def _ungate(c: Any, image: int, d: int, g: int) -> None:
    """Writes the gradient of the sum before the gate to g, and that of the gate to c.d_z."""
    one, minus = splat(f32(1)), splat(f32(-1))
    grad, z = c.grad + image * c.grad_batch + 4 * d, c.z + image * c.z_batch + 4 * d
    for t in range(c.length):
        out = load(grad + t * c.grad_token)
        if c.z == 0:
            store(g + t * BYTES, out)
            continue
        gate = load(z + t * c.z_token)
        s = vector_sigmoid(gate)
        store(g + t * BYTES, mul(out, mul(gate, s)))
        derivative = mul(s, fma(gate, fma(s, minus, one), one))
        at = 4 * ((image * c.length + t) * c.dim + d)
        store(c.d_z + at, mul(mul(out, load(c.total + at)), derivative))


@jit
def _backward_states(
    p: Any, c: Any, image: int, d: int, n: int, g: int, bounds: Any, states: Any, carried: int
) -> None:
    """The states from the n-th on, through a chunk and back; `carried` as in `_backward_pass`."""
    first, last, saved, task = bounds
    size, row, stride = len(states) * BYTES, 4 * c.dim, p.stride
    enter_token, read_token, at = p.enter_token, p.read_token, carried + c.states * BYTES
    history = at + CHUNK * TOKEN + size
    flow = load_states(states, carried + n * BYTES, BYTES)
    rates = load_states(states, p.rates + n * row + 4 * d, row)
    sums = p.d_rates + (image * c.states + n) * row + 4 * d
    d_rates = load_states(states, sums, row)
    h = load_states(states, saved + n * row, row)
    store_states(history - size, BYTES, h)
    enter = p.enter + image * p.enter_batch + first * enter_token + 4 * n
    for _ in range(first, last):
        h = replay_step(h, rates, at, enter, history)
        at, history, enter = at + TOKEN, history + 2 * size, enter + enter_token
    read = p.read + image * p.read_batch + last * read_token + 4 * n
    t = p.start + (last - 1) * stride
    g, hop = g + t * BYTES, 4 * stride * c.row
    offset = 4 * ((task * c.length + t) * c.row + n // len(states) * STATES)
    d_enter, d_read = p.d_enter + offset, p.d_read + offset
    for _ in range(first, last):
        at, history, enter, read = (
            at - TOKEN,
            history - 2 * size,
            enter - enter_token,
            read - read_token,
        )
        flow, d_rates, h = gradient_step(
            flow, d_rates, h, rates, load(g), at, enter, read, history, d_enter, d_read
        )
        g, d_enter, d_read = g - stride * BYTES, d_enter - hop, d_read - hop
    store_states(sums, row, d_rates)
    store_states(carried + n * BYTES, BYTES, flow)


@jit
def _backward_pass(
    p: Any, c: Any, image: int, d: int, g: int, task: int, states: Any, carried: int
) -> None:
    """The gradients of one direction of a block; carried: as in `_forward_pass`, and `history`."""
    tokens = carried + c.states * BYTES
    for n in range(c.states):
        store(carried + n * BYTES, splat(f32(0)))
    skip, d_skip, d_bias = load(p.skip + 4 * d), splat(f32(0)), splat(f32(0))
    row, corner = 4 * c.dim, 4 * (image * c.length * c.dim + d)
    for chunk in range((c.length - 1) // CHUNK, -1, -1):
        first, last = chunk * CHUNK, min(chunk * CHUNK + CHUNK, c.length)
        saved = p.saved + image * c.saved_batch + chunk * c.saved_chunk + 4 * d
        _steps(p, c, image, d, first, last, tokens)
        for n in range(0, c.states, len(states)):
            bounds = (first, last, saved, task)
            _backward_states(p, c, image, d, n, g, bounds, states, carried)
        for i in range(first, last):
            t, at = p.start + i * p.stride, tokens + (i - first) * TOKEN
            out, x, d_signal = load(g + t * BYTES), load(at + INPUT), load(at + D_SIGNAL)
            d_step = fma(d_signal, x, mul(load(at + D_STEP), splat(f32(1 / LOG2E))))
            d_raw = mul(d_step, load(at + DERIVATIVE))
            store(p.d_delta + corner + t * row, d_raw)
            store(p.d_u + corner + t * row, fma(d_signal, load(at + STEP), mul(skip, out)))
            d_skip, d_bias = fma(out, x, d_skip), add(d_bias, d_raw)
    store(p.d_skip + 4 * (image * c.dim + d), d_skip)
    store(p.d_bias + 4 * (image * c.dim + d), d_bias)


@jit
def _backward(start: int, stop: int, passes: Any, calls: Any, states: Any) -> None:
    c = calls[0]
    blocks = c.dim // WIDTH
    shares = -(-blocks // c.blocks)  # tasks per image
    inside = c.states + CHUNK * (TOKEN // BYTES) + (2 * CHUNK + 1) * len(states)
    memory = np.empty((inside + c.length) * WIDTH + 16, np.float32)
    scratch = (memory.ctypes.data + 63) & -64
    g = scratch + inside * BYTES
    for task in range(start, stop):
        image, share = task // shares, task % shares
        for block in range(share * c.blocks, min(share * c.blocks + c.blocks, blocks)):
            _ungate(c, image, block * WIDTH, g)
            for p in passes:
                _backward_pass(p, c, image, block * WIDTH, g, task, states, scratch)


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
        rates = np.ascontiguousarray(scan.A.detach().numpy().swapaxes(1, 2)) * f32(LOG2E)
        self.rates = torch.from_numpy(rates)  # (K, N, D), so that exp(step A) is a power of 2
        # States are not padded, because infinities would become NaN in the additional ones.
        count = max(count for count in range(1, STATES + 1) if n % count == 0)
        self.scan, self.reverse, self.states = scan, reverse, (f32(0),) * count

    def passes(self, *more: Tensor) -> np.ndarray:
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
        return simd.records(PASS, rows)

    def call(self, *more: int) -> np.ndarray:
        """The record that the directions share; `more` are its last fields."""
        _, _, length, dim, n = self.scan.sizes
        chunk = 4 * n * dim
        z = (0, 0, 0) if self.scan.z is None else _layout(self.scan.z)
        fields = [length, dim, n, -(-length // CHUNK) * chunk, chunk, *z, *more]
        return simd.records(CALL, [fields])


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
    out, total, saved = torch.empty(batch, length, wide), torch.empty(0), torch.empty(0)
    if save:
        saved = torch.empty(k * batch * -(-length // CHUNK) * n * wide)
        total = torch.empty_like(out) if scan.z is not None else total
    passes = ready.passes(*[saved.view(k, -1)] * save)
    call = ready.call(total.data_ptr(), out.data_ptr())
    run_tasks(_forward, batch * (wide // WIDTH), passes, call, ready.states)
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
    count, blocks = len(ready.states), wide // WIDTH
    each = max(1, min(blocks, -(-batch * blocks // TASKS)))  # blocks per task
    shares, row = -(-blocks // each), (n // count, STATES)
    d_u, d_delta = (torch.empty(k, batch, length, wide) for _ in range(2))
    d_enter, d_read = (_zeros(k, batch, shares, length, *row) for _ in range(2))
    d_rates, d_z = _zeros(k, batch, n, wide), torch.empty_like(total)
    d_skip, d_bias = (torch.empty(k, batch, wide) for _ in range(2))
    call = ready.call(total.data_ptr(), 0, d_z.data_ptr(), *_layout(grad), each, math.prod(row))
    passes = ready.passes(saved.view(k, -1), d_u, d_delta, d_rates, d_enter, d_read, d_skip, d_bias)
    run_tasks(_backward, batch * shares, passes, call, ready.states)
    d_B, d_C = (_sum(t, 2)[..., :count].flatten(3) for t in (d_enter, d_read))
    d_A, d_D, d_bias = (_sum(t, 1)[..., :dim] for t in (d_rates, d_skip, d_bias))
    grad_z = d_z[..., :dim] if scan.z is not None else None
    return d_u[..., :dim], d_delta[..., :dim], d_A.mT, d_B, d_C, d_D, d_bias, grad_z
