"""The selective scan on a CPU, compiled by numba when first used (and kept on disk).

A task is one image and `WIDTH` neighbouring channels, for all directions: their states, 16 at a
time, stay in registers for the whole length. More than 16 states go in several passes. Threads
share out the tasks. Backwards, a task replays one chunk of tokens from its saved state, keeping
states and decays in a scratch of some hundred kilobytes, and walks back through it; what channels
sum up to (gradients of B and C) is written for each task and added up outside, always in the same
order.

Records of addresses (`CALL`, `PASS`) stand in for arguments: all are bytes, as int64.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit, types
from torch import Tensor

from vitrail.ops import pool, simd
from vitrail.ops.selective_scan.reference import Scan
from vitrail.ops.selective_scan.torch import CHUNK
from vitrail.ops.simd import (
    BYTES,
    FAST,
    LOG2E,
    WIDTH,
    add,
    fma,
    load,
    load_scalar,
    load_states,
    mul,
    softplus_sigmoid,
    splat,
    store,
    store_scalar,
    store_states,
    vector_sigmoid,
    vector_softplus,
    zeros,
)

STATES = 16  # in registers at a time


def _record(fields: str) -> np.dtype:
    return np.dtype([(name, np.int64) for name in fields.split()])


# What one pass over the tokens needs: one direction, and 16 of its states.
PASS = _record(
    "u u_batch u_token delta delta_batch delta_token enter enter_batch enter_token "
    "read read_batch read_token A A_dim skip bias saved backwards first "
    "d_u d_delta d_A d_enter d_read d_skip d_bias"
)
# What all passes share.
CALL = _record(
    "batch length dim z z_batch z_token out total saved_batch saved_chunk "
    "grad grad_batch grad_token d_z d_A_batch row"
)
_jit = njit(fastmath=FAST, error_model="numpy", nogil=True, cache=True)
_row = njit(fastmath=FAST, error_model="numpy", nogil=True, cache=True, inline="always")
f32 = np.float32


def _lane(n: int) -> int:
    return BYTES * n


@simd.kernel_function(lambda states, *_: types.Tuple((states, simd.vector)))
def scan_step(b, states, step, signal, y, rates, enter, read):  # type: ignore[no-untyped-def]
    """h = exp(step A) h + signal B for each state; y + Σ h C. Two sums, to hide their latency."""
    after, sums = [], [y, simd.constant(0.0)]
    for n, h in enumerate(simd.unpack(b, states)):
        decay = simd.exp2(b, b.fmul(step, simd.read(b, rates, _lane(n))))
        entered = b.fmul(signal, simd.spread(b, simd.read_scalar(b, enter, 4 * n)))
        after.append(simd.fused(b, decay, h, entered))
        weight = simd.spread(b, simd.read_scalar(b, read, 4 * n))
        sums[n % 2] = simd.fused(b, after[n], weight, sums[n % 2])
    return simd.pack(
        b,
        simd.ir.LiteralStructType([states.type, y.type]),
        [simd.pack_states(b, after), b.fadd(*sums)],
    )


@simd.kernel_function(lambda states, *_: states)
def replay_step(b, states, step, signal, rates, enter, decays, memory):  # type: ignore[no-untyped-def]
    """`scan_step` without its output, keeping decays and states for the way back."""
    after = []
    for n, h in enumerate(simd.unpack(b, states)):
        decay = simd.exp2(b, b.fmul(step, simd.read(b, rates, _lane(n))))
        simd.write(b, decays, decay, _lane(n))
        entered = b.fmul(signal, simd.spread(b, simd.read_scalar(b, enter, 4 * n)))
        after.append(simd.fused(b, decay, h, entered))
        simd.write(b, memory, after[n], _lane(n))
    return simd.pack_states(b, after)


@simd.kernel_function(lambda flow, *_: types.Tuple((flow, flow, simd.vector, simd.vector)))
def gradient_step(  # type: ignore[no-untyped-def]
    b, flow, d_rates, g, step, signal, rates, enter, read, decays, memory, d_enter, d_read
):
    """One token back: → gradient of the state before it, sums for A, of signal, of step.

    memory: the states before the token, then those after it.
    """
    count = flow.type.count
    before_flow, sums, for_enter, for_read = [], [], [], []
    d_signal = d_step = simd.constant(0.0)
    for n, (into, so_far) in enumerate(
        zip(simd.unpack(b, flow), simd.unpack(b, d_rates), strict=True)
    ):
        before = simd.read(b, memory, _lane(n))
        after = simd.read(b, memory, _lane(count + n))
        decay = simd.read(b, decays, _lane(n))
        d = simd.fused(b, g, simd.spread(b, simd.read_scalar(b, read, 4 * n)), into)
        for_read.append(b.fmul(g, after))
        for_enter.append(b.fmul(d, signal))
        weight = simd.spread(b, simd.read_scalar(b, enter, 4 * n))
        d_signal = simd.fused(b, d, weight, d_signal)
        before_flow.append(b.fmul(d, decay))
        d_exponent = b.fmul(before_flow[n], before)
        d_step = simd.fused(b, d_exponent, simd.read(b, rates, _lane(n)), d_step)
        sums.append(simd.fused(b, d_exponent, step, so_far))
    for rows, address in ((for_enter, d_enter), (for_read, d_read)):
        rows += [simd.constant(0.0)] * (-count % WIDTH)
        for i in range(0, count, WIDTH):
            simd.write(b, address, simd.lane_sums(b, rows[i : i + WIDTH]), 4 * i)
    kinds = [flow.type, flow.type, g.type, g.type]
    values = [simd.pack_states(b, before_flow), simd.pack_states(b, sums), d_signal, d_step]
    return simd.pack(b, simd.ir.LiteralStructType(kinds), values)


@_row
def _fill_rates(p: Any, d: int, states: Any, rates: int) -> None:
    for n in range(len(states)):
        for lane in range(WIDTH):
            rate = load_scalar(p.A + (d + lane) * p.A_dim + 4 * n)
            store_scalar(rates + n * BYTES + 4 * lane, rate * f32(LOG2E))


@_jit
def _forward_pass(
    p: Any, c: Any, image: int, d: int, y: int, add_up: bool, states: Any, rates: int
) -> None:
    """One pass of one task. `states`: a tuple as long as the states, for its type."""
    _fill_rates(p, d, states, rates)
    u, delta = p.u + image * p.u_batch + 4 * d, p.delta + image * p.delta_batch + 4 * d
    enter, read = p.enter + image * p.enter_batch, p.read + image * p.read_batch
    saved = p.saved + image * c.saved_batch + 4 * d
    bias = load(p.bias + 4 * d)
    skip = load(p.skip + 4 * d) if p.first else splat(f32(0))
    h = zeros(states)
    for i in range(c.length):
        t = c.length - 1 - i if p.backwards else i
        if p.saved != 0 and i % CHUNK == 0:
            store_states(saved + i // CHUNK * c.saved_chunk, 4 * c.dim, h)
        x = load(u + t * p.u_token)
        step = vector_softplus(add(load(delta + t * p.delta_token), bias))
        at, skipped = y + t * 4 * c.dim, mul(skip, x)
        if add_up:
            skipped = add(skipped, load(at))
        h, sum_ = scan_step(
            h,
            step,
            mul(step, x),
            skipped,
            rates,
            enter + t * p.enter_token,
            read + t * p.read_token,
        )
        store(at, sum_)


@_jit
def _forward(start: int, stop: int, passes: Any, calls: Any, states: Any) -> None:
    c = calls[0]
    scratch = np.empty(len(states) * WIDTH + 16, np.float32)
    rates = (scratch.ctypes.data + 63) & -64
    blocks = c.dim // WIDTH
    for task in range(start, stop):
        image, d = task // blocks, task % blocks * WIDTH
        at = 4 * (image * c.length * c.dim + d)
        y = (c.total if c.total != 0 else c.out) + at
        for i in range(len(passes)):
            _forward_pass(passes[i], c, image, d, y, i > 0, states, rates)
        if c.z != 0:
            z = c.z + image * c.z_batch + 4 * d
            for t in range(c.length):
                gate = load(z + t * c.z_token)
                gated = mul(load(y + t * 4 * c.dim), mul(gate, vector_sigmoid(gate)))
                store(c.out + at + t * 4 * c.dim, gated)


@_jit
def _ungate(c: Any, image: int, d: int, g: int) -> None:
    """The gradient of the sum before the gate, into g; that of the gate, into its place."""
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
        slope = mul(s, fma(gate, fma(s, minus, one), one))
        at = 4 * ((image * c.length + t) * c.dim + d)
        store(c.d_z + at, mul(mul(out, load(c.total + at)), slope))


@_jit
def _backward_pass(
    p: Any, c: Any, image: int, d: int, g: int, states: Any, scratch: int, task: int
) -> None:
    """One pass of one task. scratch: rates, decays, memory, steps and slopes of a chunk."""
    size = len(states) * BYTES
    rates, decays = scratch, scratch + size
    memory = decays + CHUNK * size
    steps = memory + (CHUNK + 1) * size
    slopes = steps + CHUNK * BYTES
    _fill_rates(p, d, states, rates)
    u, delta = p.u + image * p.u_batch + 4 * d, p.delta + image * p.delta_batch + 4 * d
    enter, read = p.enter + image * p.enter_batch, p.read + image * p.read_batch
    bias = load(p.bias + 4 * d)
    skip = load(p.skip + 4 * d) if p.first else splat(f32(0))
    flow, d_rates = zeros(states), zeros(states)
    d_skip, d_bias = splat(f32(0)), splat(f32(0))
    for chunk in range((c.length - 1) // CHUNK, -1, -1):
        first, last = chunk * CHUNK, min(chunk * CHUNK + CHUNK, c.length)
        saved = p.saved + image * c.saved_batch + chunk * c.saved_chunk + 4 * d
        h = load_states(states, saved, 4 * c.dim)
        store_states(memory, BYTES, h)
        for i in range(first, last):
            t, j = c.length - 1 - i if p.backwards else i, i - first
            step, slope = softplus_sigmoid(add(load(delta + t * p.delta_token), bias))
            store(steps + j * BYTES, step)
            store(slopes + j * BYTES, slope)
            signal = mul(step, load(u + t * p.u_token))
            at, after = decays + j * size, memory + (j + 1) * size
            h = replay_step(h, step, signal, rates, enter + t * p.enter_token, at, after)
        for i in range(last - 1, first - 1, -1):
            t, j = c.length - 1 - i if p.backwards else i, i - first
            out, x, step = load(g + t * BYTES), load(u + t * p.u_token), load(steps + j * BYTES)
            row = (task * c.length + t) * c.row
            flow, d_rates, d_signal, d_step = gradient_step(
                flow, d_rates, out, step, mul(step, x), rates,
                enter + t * p.enter_token, read + t * p.read_token,
                decays + j * size, memory + j * size, p.d_enter + row, p.d_read + row,
            )  # fmt: skip
            d_step = fma(d_signal, x, mul(d_step, splat(f32(1 / LOG2E))))
            d_delta, d_u = (
                mul(d_step, load(slopes + j * BYTES)),
                fma(d_signal, step, mul(skip, out)),
            )
            d_skip, d_bias = fma(out, x, d_skip), add(d_bias, d_delta)
            at = 4 * ((image * c.length + t) * c.dim + d)
            if not p.first:
                d_delta, d_u = add(d_delta, load(p.d_delta + at)), add(d_u, load(p.d_u + at))
            store(p.d_delta + at, d_delta)
            store(p.d_u + at, d_u)
    store_states(p.d_A + image * c.d_A_batch + 4 * d, 4 * c.dim, d_rates)
    at = 4 * (image * c.dim + d)
    store(p.d_skip + at, d_skip)
    store(p.d_bias + at, d_bias)


@_jit
def _backward(start: int, stop: int, passes: Any, calls: Any, states: Any) -> None:
    c = calls[0]
    inside = len(states) * WIDTH * (2 * CHUNK + 2) + 2 * CHUNK * WIDTH
    memory = np.empty(inside + c.length * WIDTH + 16, np.float32)
    scratch = (memory.ctypes.data + 63) & -64
    g = scratch + 4 * inside
    blocks = c.dim // WIDTH
    for task in range(start, stop):
        image, d = task // blocks, task % blocks * WIDTH
        _ungate(c, image, d, g)
        for i in range(len(passes)):
            _backward_pass(passes[i], c, image, d, g, states, scratch, task)


class _Prepared:
    """Inputs as the kernels want them, and the records that point to them."""

    def __init__(self, scan: Scan, reverse: Sequence[bool], saved: Tensor) -> None:
        dim, n = scan.sizes[3:]
        self.group = n if n <= STATES else STATES
        scan = scan.exact()
        pad_dim, pad_n = -dim % WIDTH, -n % self.group
        if pad_dim or pad_n:
            scan = Scan(*(_pad(t, name, pad_dim, pad_n) for name, t in scan._asdict().items()))
        scan = Scan(*(t if t is None or t.stride(-1) == 1 else t.contiguous() for t in scan))
        self.scan, self.reverse, self.saved = scan._replace(A=scan.A.contiguous()), reverse, saved
        self.groups = self.scan.sizes[4] // self.group

    def passes(self) -> np.ndarray:
        """A record for each direction and each 16 of its states."""
        k, batch, length, dim, n = self.scan.sizes
        found = np.zeros(k * self.groups, PASS)
        for i, p in enumerate(found):
            d, group = divmod(i, self.groups)
            skip_states = 4 * group * self.group
            for name in ("u", "delta"):
                _place(p, name, getattr(self.scan, name)[d], 0)
            _place(p, "enter", self.scan.B[d], skip_states)
            _place(p, "read", self.scan.C[d], skip_states)
            p["A"], p["A_dim"] = self.scan.A[d].data_ptr() + skip_states, 4 * n
            p["skip"], p["bias"] = self.scan.D[d].data_ptr(), self.scan.bias[d].data_ptr()
            p["backwards"], p["first"] = self.reverse[d], group == 0
            if len(self.saved):
                within = skip_states * dim
                p["saved"] = self.saved.data_ptr() + d * batch * self._chunk(length) + within
        return found

    def _chunk(self, length: int) -> int:
        """Bytes of one image's saved states."""
        return 4 * -(-length // CHUNK) * self.scan.sizes[4] * self.scan.sizes[3]

    def call(self) -> np.ndarray:
        """The record that passes share; outputs are still to be entered."""
        _, batch, length, dim, n = self.scan.sizes
        c = np.zeros(1, CALL)
        c["batch"], c["length"], c["dim"] = batch, length, dim
        c["saved_batch"], c["saved_chunk"] = self._chunk(length), 4 * n * dim
        c["d_A_batch"], c["row"] = 4 * n * dim, 4 * self.row
        if self.scan.z is not None:
            _place(c[0], "z", self.scan.z, 0)
        return c

    @property
    def row(self) -> int:
        """Floats that a task writes a token for B, and for C: whole vectors."""
        return -(-self.group // WIDTH) * WIDTH

    @property
    def tasks(self) -> int:
        """An image and `WIDTH` channels each."""
        return self.scan.sizes[1] * (self.scan.sizes[3] // WIDTH)


def _pad(t: Tensor | None, name: str, dim: int, n: int) -> Tensor | None:
    """With zeros, to whole vectors and whole groups: they neither decay nor grow, and add 0."""
    if t is None:
        return None
    if name == "A":
        return F.pad(t, (0, n, 0, dim))
    return F.pad(t, (0, n if name in "BC" else dim))


def _place(record: Any, name: str, tensor: Tensor, offset: int) -> None:
    record[name] = tensor.data_ptr() + offset
    record[f"{name}_batch"], record[f"{name}_token"] = (4 * s for s in tensor.stride()[:2])


def forward(scan: Scan, reverse: Sequence[bool], save: bool) -> tuple[Tensor, Tensor, Tensor]:
    """→ output (B, L, D); if `save`, also the sum before the gate and states every `CHUNK`."""
    dim, n = scan.sizes[3:]
    saved = torch.empty(0)
    ready = _Prepared(scan, reverse, saved)
    k, batch, length, wide, many = ready.scan.sizes
    if save:
        ready.saved = saved = torch.empty(k * batch * -(-length // CHUNK) * many * wide)
    out, total = torch.empty(batch, length, wide), torch.empty(0)
    call = ready.call()
    call["out"] = out.data_ptr()
    if save and scan.z is not None:
        total = torch.empty_like(out)
        call["total"] = total.data_ptr()
    pool.run(_forward, ready.tasks, ready.passes(), call, (f32(0),) * ready.group)
    if (wide, many) != (dim, n):
        out, total = out[..., :dim].contiguous(), total[..., :dim].contiguous()
        saved = saved.view(-1, many, wide)[:, :n, :dim].flatten() if save else saved
    return out, total, saved


def backward(
    grad: Tensor, scan: Scan, reverse: Sequence[bool], total: Tensor, saved: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients in the order of `Scan`'s fields."""
    dim, n = scan.sizes[3:]
    ready = _Prepared(scan, reverse, saved)
    k, batch, length, wide, many = ready.scan.sizes
    grad = grad.float()
    if (wide, many) != (dim, n):
        padded = (0, wide - dim)
        grad, total = F.pad(grad, padded), F.pad(total, padded)
        ready.saved = F.pad(saved.view(-1, n, dim), (*padded, 0, many - n)).flatten()
    d_u, d_delta = (torch.empty(k, batch, length, wide) for _ in range(2))
    d_rates = torch.empty(k, batch, many, wide)
    blocks = wide // WIDTH
    rows_of = (k, ready.groups, batch, blocks, length, ready.row)
    d_enter, d_read = (torch.empty(rows_of) for _ in range(2))
    d_skip, d_bias = (torch.empty(k, ready.groups, batch, wide) for _ in range(2))
    d_z = torch.empty_like(total)
    call, passes = ready.call(), ready.passes()
    call["total"], call["d_z"] = total.data_ptr(), d_z.data_ptr()
    grad = grad if grad.stride(-1) == 1 else grad.contiguous()
    _place(call[0], "grad", grad, 0)
    for i, p in enumerate(passes):
        d, group = divmod(i, ready.groups)
        p["d_u"], p["d_delta"] = d_u[d].data_ptr(), d_delta[d].data_ptr()
        p["d_A"] = d_rates[d].data_ptr() + 4 * group * ready.group * wide
        for name, where in (("d_enter", d_enter), ("d_read", d_read)):
            p[name] = where[d, group].data_ptr()
        p["d_skip"], p["d_bias"] = d_skip[d, group].data_ptr(), d_bias[d, group].data_ptr()
    pool.run(_backward, ready.tasks, passes, call, (f32(0),) * ready.group)

    def rows(partial: Tensor) -> Tensor:
        found = partial[..., : ready.group].sum(3)  # (K, groups, B, L, states)
        return found.permute(0, 2, 3, 1, 4).flatten(3)[..., :n]

    d_A = d_rates.sum(1).transpose(1, 2)[:, :dim, :n]
    grad_z = d_z[..., :dim] if scan.z is not None else None
    skip, bias = d_skip[:, 0].sum(1)[:, :dim], d_bias.sum((1, 2))[:, :dim]
    d_u, d_delta = d_u[..., :dim], d_delta[..., :dim]
    return d_u, d_delta, d_A, rows(d_enter), rows(d_read), skip, bias, grad_z
