"""The kernels of the selective scan, for numba to compile: `_numba.py` calls them.

A task is one image and some blocks of `WIDTH` adjacent channels, for all directions; threads share
the tasks. A block goes through its tokens in chunks: first the step sizes of a chunk, which take
long but do not depend on each other, so that a processor overlaps them; then the states, `STATES`
at a time, in registers.

The backward pass computes the states of a chunk anew, from the saved ones, and stores states and
decays in `history`. Gradients of B and C, to which all channels add, are summed over the blocks of
a task, in order, and then over tasks. Only sizes decide which blocks make a task, so gradients do
not depend on the number of threads.
"""

from typing import Any

import numpy as np
from numba import carray, types  # type: ignore[attr-defined]

from vitrail.ops import _simd as simd
from vitrail.ops._simd import (
    add,
    entry,
    fetch,
    fma,
    jit,
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
from vitrail.ops._vectors import BYTES, LOG2E, WIDTH
from vitrail.ops.selective_scan import _numba as host
from vitrail.ops.selective_scan._numba import CALL, PASS, STATES
from vitrail.ops.selective_scan._torch import CHUNK

# Offsets of the vectors stored per token of a chunk; the forward pass has STEP, SIGNAL and Y only.
STEP, SIGNAL, DERIVATIVE, INPUT, D_SIGNAL, D_STEP = (BYTES * i for i in range(6))
Y, TOKEN = 2 * BYTES, host.VECTORS * BYTES

f32 = np.float32
vectors = jit(host.vectors)


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


def forward(count: int) -> Any:
    """The forward pass with `count` states in registers."""
    states = (f32(0),) * count  # only its type is used

    @entry(PASS, CALL)
    def kernel(start, stop, rows, number, call, scratch):  # type: ignore[no-untyped-def]
        passes, c = carray(rows, number), carray(call, 1)[0]
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

    return kernel


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


def backward(count: int) -> Any:
    """The backward pass with `count` states in registers."""
    states = (f32(0),) * count

    @entry(PASS, CALL)
    def kernel(start, stop, rows, number, call, scratch):  # type: ignore[no-untyped-def]
        passes, c = carray(rows, number), carray(call, 1)[0]
        blocks = c.dim // WIDTH
        shares = -(-blocks // c.blocks)  # tasks per image
        g = scratch + vectors(c.states, count) * BYTES
        for task in range(start, stop):
            image, share = task // shares, task % shares
            for block in range(share * c.blocks, min(share * c.blocks + c.blocks, blocks)):
                _ungate(c, image, block * WIDTH, g)
                for p in passes:
                    _backward_pass(p, c, image, block * WIDTH, g, task, states, scratch)

    return kernel
