"""The selective scan in Triton (3.3 or later), for GPUs.

A program holds the states of a block of channels in registers and goes through the tokens; only
the states that the backward pass starts from are written. If batch and channels alone give a GPU
too few programs, the tokens are cut into parts: a first pass computes the last state of each part
from a first state of 0, a second runs the part from its true first state. Gradients flow backwards
in the same manner. Sums over channels, parts and batch go into buffers, one row per program, and
are added outside: without atomics, so that the same inputs give the same bits.

Tiles: channels are (ROWS, columns), states (ROWS, STATES, columns). The last axis is spread over
the threads of a warp, then as much of the axis before it as threads remain; the rest of a tile is
in a thread's own registers, where a sum is cheapest.
"""

# mypy: disable-error-code="no-untyped-def, assignment"

import functools
import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from vitrail.errors import ConfigError
from vitrail.ops.selective_scan._torch import CHUNK as SAVED_EVERY
from vitrail.ops.selective_scan.reference import Scan

CHUNK = tl.constexpr(SAVED_EVERY)
GROUP = tl.constexpr(4)  # tokens whose loads are all issued before the first is used
BLOCK = tl.constexpr(32)  # channels per program
LOG2E, LN2 = tl.constexpr(math.log2(math.e)), tl.constexpr(math.log(2))
# Per thread: forwards, all states of a channel; backwards, some states of some channels.
FORTH_ROWS, BACK_ROWS = 1, 4
BUSY, LEAST = 8, 16  # programs that keep a multiprocessor busy; least tokens of a part
# Arguments whose values are not compiled in.
VALUES = ("batches", "length", "dim", "n", "blocks", "parts", "span", "backwards")
VALUES += ("u_k", "u_b", "u_l", "delta_k", "delta_b", "delta_l", "z_b", "z_l")


@triton.jit
def _softplus(x):
    """log(1 + exp(x)), with the digits of small results that 1 + exp(x) would round away."""
    e = tl.exp2(-tl.abs(x) * LOG2E)
    # log(1 + e) = 2 artanh(s) = 2 (s + s^3 / 3 + ...), and s <= 1/3: few terms suffice.
    s = e / (2 + e)
    q = s * s
    tail = 1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13)))
    return tl.maximum(x, 0) + 2 * s * (1 + q * (1 / 3 + q * (1 / 5 + q * tail)))


@triton.jit
def _sigmoid(x):
    e = tl.exp2(-tl.abs(x) * LOG2E)
    return tl.where(x < 0, e, 1) / (1 + e)


@triton.jit
def _numbers(pointer, there):
    return tl.load(pointer, mask=there, other=0).to(tl.float32)


@triton.jit
def _program(blocks, parts, K: tl.constexpr):
    """This program's block, part, direction and batch, and the row of the last three."""
    row = tl.program_id(0) // blocks  # 64 bits: tensors may have more than 2^31 elements
    k, batch = (row // parts % K).to(tl.int64), (row // parts // K).to(tl.int64)
    return tl.program_id(0) % blocks, row % parts, k, batch, row.to(tl.int64)


@triton.jit
def _tile(block, dim, n, ROWS: tl.constexpr, STATES: tl.constexpr):
    """Offsets and masks of channels (D), of B and C of all states (N, 2), of states (N, D)."""
    columns: tl.constexpr = BLOCK // ROWS
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, columns)[None, :]
    channel, state = (block * ROWS + row) * columns + column, tl.arange(0, STATES)
    pair, there = state[:, None] * 2 + tl.arange(0, 2)[None, :], (state < n)[:, None]
    c, s = channel[:, None, :], state[None, :, None]
    return channel, channel < dim, pair, there, s * dim + c, (c < dim) & (s < n)


@triton.jit
def _order(backwards, k, length):
    """(origin, sign): token origin + sign * i is at position i of the scan, and vice versa."""
    flip = (backwards >> k.to(tl.int32)) & 1
    return flip * (length - 1), 1 - 2 * flip


@triton.jit
def _group(at, z, y, g, begin, sign, i, stop):
    """The inputs of each token of a group; from position `stop` on, steps are 0."""
    u, u_l, delta, delta_l, pair, n, z_l, dim, shift, in_dim, in_n = at
    tokens = ()
    for j in tl.static_range(GROUP):
        t, live = begin + sign * (i + j), in_dim & (i + j < stop)
        wide = t.to(tl.int64)
        raw = tl.load(delta + wide * delta_l, mask=live, other=-float("inf")).to(tl.float32)
        # In one load: alone, B and C are each too small for Triton to spread over the threads.
        both = tl.load(pair + t * n * 2, mask=in_n & (i + j < stop), other=0)
        gate = 1.0 if z is None else _numbers(z + wide * z_l, live)
        total = 0.0 if y is None else _numbers(y + t * dim, live)
        grad = 0.0 if g is None else _numbers(g + t * dim, live)
        tokens += ((_numbers(u + wide * u_l, live), raw + shift, both, gate, total, grad),)
    return tokens


@triton.jit
def _follow(state, token, rate):
    """The state after one more token."""
    x, raw, both, _gate, _y, _g = token
    enter, _read = tl.split(both)
    step = _softplus(raw)
    return tl.exp2(step[:, None, :] * rate) * state + (step * x)[:, None, :] * enter[None, :, None]


@triton.jit
def _entry(ends, sums, row, part, parts, sign, rate, dim, n, channel, in_dim, table, there):
    """The first state of a part, from the last states of the parts before it."""
    value, flip = tl.zeros_like(rate), (1 - sign) // 2
    if ends is not None:
        for i in range(part + flip * (parts - 1 - 2 * part)):
            before = row - part + flip * (parts - 1) + sign * i
            steps = _numbers(sums + before * dim + channel, in_dim)
            end = _numbers(ends + before * n * dim + table, there)
            value = tl.exp2(steps[:, None, :] * rate) * value + end
    return value


@triton.jit(do_not_specialize=VALUES)
def _ends(
    u, delta, A, pairs, bias, z, ends, sums,
    batches, length, dim, n, blocks, parts, span, backwards,
    u_k, u_b, u_l, delta_k, delta_b, delta_l, z_b, z_l,
    FLOW: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """The last state of each part from a first state of 0, and the sum of the part's steps.

    If FLOW, the same of the gradients of the states, from C and the gradient of the output, which
    is passed as u. Gradients flow against the scan, and their parts are counted along the scan
    instead of along the tokens.
    """
    block, part, k, batch, row = _program(blocks, parts, K)
    channel, in_dim, pair, in_n, table, there = _tile(block, dim, n, ROWS, STATES)
    rate = _numbers(A + k * dim * n + table, there) * LOG2E
    shift = _numbers(bias + k * dim + channel, in_dim)
    u += k * u_k + batch * u_b + channel
    delta += k * delta_k + batch * delta_b + channel
    pairs += (k * batches + batch) * length * n * 2 + pair
    at = (u, u_l, delta, delta_l, pairs, n, z_l, dim, shift, in_dim, in_n)
    z_at = None if z is None else z + batch * z_b + channel
    first, count = part * span, tl.minimum(span, length - part * span)
    origin, sign = _order(backwards, k, length)
    last = first + count - 1
    begin = origin + sign * last if FLOW else tl.where(sign > 0, first, last)
    sign = -sign if FLOW else sign
    end, steps = tl.zeros_like(rate), tl.zeros_like(shift)
    for i in range(0, count, GROUP):
        tokens = _group(at, z_at, None, None, begin, sign, i, count)
        for j in tl.static_range(GROUP):
            g, raw, both, gate, _y, _g = tokens[j]
            steps += _softplus(raw)
            if FLOW:
                g = g if z is None else g * gate * _sigmoid(gate)
                _enter, read = tl.split(both)
                end += g[:, None, :] * read[None, :, None]
                end *= tl.exp2(_softplus(raw)[:, None, :] * rate)
            else:
                end = _follow(end, tokens[j], rate)
    tl.store(ends + row * n * dim + table, end, mask=there)
    tl.store(sums + row * dim + channel, steps, mask=in_dim)


@triton.jit(do_not_specialize=VALUES)
def _scan(
    u, delta, A, pairs, D, bias, z, ends, sums, out, total, saved,
    batches, length, dim, n, blocks, parts, span, backwards,
    u_k, u_b, u_l, delta_k, delta_b, delta_l, z_b, z_l,
    K: tl.constexpr, ROWS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """The output of one part of the tokens, one direction after the other.

    `total` receives the sum of all directions but the last, or with `saved` of all before the gate;
    `saved` receives the states before every CHUNK tokens.
    """
    block, part, _, batch, _ = _program(blocks, parts, 1)
    channel, in_dim, pair, in_n, table, there = _tile(block, dim, n, ROWS, STATES)
    here = batch * length * dim + channel
    first, count = part * span, tl.minimum(span, length - part * span)
    for direction in tl.static_range(K):
        k = tl.full([], direction, tl.int64)
        line, row = k * batches + batch, (batch * K + k) * parts + part
        rate = _numbers(A + k * dim * n + table, there) * LOG2E
        shift = _numbers(bias + k * dim + channel, in_dim)
        skip = _numbers(D + k * dim + channel, in_dim)
        u_at = u + k * u_k + batch * u_b + channel
        delta_at = delta + k * delta_k + batch * delta_b + channel
        pair_at = pairs + line * length * n * 2 + pair
        at = (u_at, u_l, delta_at, delta_l, pair_at, n, z_l, dim, shift, in_dim, in_n)
        y_at = None if direction == 0 else total + here
        z_at = None if z is None or direction < K - 1 else z + batch * z_b + channel
        origin, sign = _order(backwards, k, length)
        begin = tl.where(sign > 0, first, first + count - 1)
        position = origin + sign * begin  # in the scan
        h = _entry(ends, sums, row, part, parts, sign, rate, dim, n, channel, in_dim, table, there)
        for chunk in range(position // CHUNK, tl.cdiv(position + count, CHUNK)):
            passed = position - chunk * CHUNK  # of the chunk before this part; none: below 0
            start, stop = tl.maximum(-passed, 0), tl.minimum(-passed + CHUNK, count)
            if saved is not None:
                at_saved = saved + (line * tl.cdiv(length, CHUNK) + chunk) * n * dim + table
                tl.store(at_saved, h, mask=there & (passed <= 0))
            for i in range(start, stop, GROUP):
                tokens = _group(at, z_at, y_at, None, begin, sign, i, stop)
                for j in tl.static_range(GROUP):
                    x, _raw, both, gate, y, _g = tokens[j]
                    h = _follow(h, tokens[j], rate)
                    _enter, read = tl.split(both)
                    y += skip * x + tl.sum(h * read[None, :, None], 1)
                    t, live = begin + sign * (i + j), in_dim & (i + j < stop)
                    if direction < K - 1 or (saved is not None and z is not None):
                        tl.store(total + here + t * dim, y, mask=live)
                    if direction == K - 1:
                        y = y if z is None else y * gate * _sigmoid(gate)
                        tl.store(out + here + t * dim, y, mask=live)
        tl.debug_barrier()  # the next direction reads what other threads wrote


@triton.jit
def _token_gradients(flow, before, after, token, g, rate):
    """One token backwards → the flow before it, and its terms of each gradient."""
    x, raw, both, _gate, _y, _g = token
    enter, read = tl.split(both)
    step = _softplus(raw)
    signal = (step * x)[:, None, :]
    d_read = tl.sum(tl.sum(g[:, None, :] * after, 0), 1)
    flow += g[:, None, :] * read[None, :, None]
    d_enter = tl.sum(tl.sum(flow * signal, 0), 1)
    d_signal = tl.sum(flow * enter[None, :, None], 1)
    flow *= tl.exp2(step[:, None, :] * rate)
    d_power = flow * before  # gradient of step * A
    d_step = d_signal * x + tl.sum(d_power * rate, 1) * LN2
    d_rate = d_power * step[:, None, :]
    return flow, d_signal * step, d_step * _sigmoid(raw), d_rate, tl.join(d_enter, d_read)


@triton.jit(do_not_specialize=VALUES)
def _gradients(
    grad, u, delta, A, pairs, D, bias, z, total, saved, ends, sums, scratch,
    d_u, d_delta, d_A, d_pairs, d_D, d_bias, d_z,
    batches, length, dim, n, blocks, parts, span, backwards,
    u_k, u_b, u_l, delta_k, delta_b, delta_l, z_b, z_l,
    K: tl.constexpr, ROWS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """All gradients of one part of one direction, from its last chunk to its first.

    States are computed anew: through a chunk from the saved one, storing those before each group
    in `scratch`; then, from the last group to the first, through the group, in registers.
    """
    block, part, k, batch, row = _program(blocks, parts, K)
    channel, in_dim, pair, in_n, table, there = _tile(block, dim, n, ROWS, STATES)
    line = k * batches + batch
    here, here_k = batch * length * dim + channel, line * length * dim + channel
    rate = _numbers(A + k * dim * n + table, there) * LOG2E
    shift = _numbers(bias + k * dim + channel, in_dim)
    skip = _numbers(D + k * dim + channel, in_dim)
    u += k * u_k + batch * u_b + channel
    delta += k * delta_k + batch * delta_b + channel
    pairs += line * length * n * 2 + pair
    d_pairs += ((batch * K + k) * blocks + block) * length * n * 2 + pair
    at = (u, u_l, delta, delta_l, pairs, n, z_l, dim, shift, in_dim, in_n)
    z_at = None if z is None else z + batch * z_b + channel
    y_at = None if z is None else total + here
    flow = _entry(ends, sums, row, part, parts, -1, rate, dim, n, channel, in_dim, table, there)
    sum_rate, sum_skip, sum_shift = tl.zeros_like(rate), tl.zeros_like(skip), tl.zeros_like(skip)
    history = scratch + tl.program_id(0).to(tl.int64) * (CHUNK // GROUP * rate.numel)
    history += tl.arange(0, rate.numel).reshape(rate.shape)
    origin, sign = _order(backwards, k, length)
    first, chunks = part * (span // CHUNK), tl.cdiv(length, CHUNK)
    for chunk in range(tl.minimum(first + span // CHUNK, chunks) - 1, first - 1, -1):
        begin, count = origin + sign * chunk * CHUNK, tl.minimum(CHUNK, length - chunk * CHUNK)
        h = _numbers(saved + (line * chunks + chunk) * n * dim + table, there)
        for i in range(0, count, GROUP):
            tl.store(history + i // GROUP * rate.numel, h)
            tokens = _group(at, None, None, None, begin, sign, i, count)
            for j in tl.static_range(GROUP):
                h = _follow(h, tokens[j], rate)
        tl.debug_barrier()  # other threads may have written what is read next
        for i in range((count - 1) // GROUP * GROUP, -1, -GROUP):
            tokens = _group(at, z_at, y_at, grad + here, begin, sign, i, count)
            states = (tl.load(history + i // GROUP * rate.numel),)
            for j in tl.static_range(GROUP):
                states += (_follow(states[j], tokens[j], rate),)
            for j in tl.static_range(GROUP - 1, -1, -1):
                x, _raw, _both, gate, y, g = tokens[j]
                t, live = begin + sign * (i + j), in_dim & (i + j < count)
                if z is not None:
                    sigmoid = _sigmoid(gate)
                    d_gate = g * y * sigmoid * (1 + gate * (1 - sigmoid))
                    tl.store(d_z + here + t * dim, d_gate, mask=live & (k == 0))
                    g *= gate * sigmoid
                flow, d_x, d_raw, d_rate, d_pair = _token_gradients(
                    flow, states[j], states[j + 1], tokens[j], g, rate
                )
                tl.store(d_u + here_k + t * dim, d_x + skip * g, mask=live)
                tl.store(d_delta + here_k + t * dim, d_raw, mask=live)
                tl.store(d_pairs + t * n * 2, d_pair, mask=in_n & (i + j < count))
                sum_rate += d_rate
                sum_skip, sum_shift = sum_skip + g * x, sum_shift + d_raw
        tl.debug_barrier()  # before the next chunk overwrites it
    tl.store(d_A + row * n * dim + table, sum_rate, mask=there)
    tl.store(d_D + row * dim + channel, sum_skip, mask=in_dim)
    tl.store(d_bias + row * dim + channel, sum_shift, mask=in_dim)


def forward(
    scan: Scan, reverse: Sequence[bool], save: bool, parts: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """scan, reverse (K) → output (B, L, D); to `save`: sum before the gate, states per `CHUNK`.

    parts: number of parts of the tokens, at most; None for as many as keep the device busy.
    """
    tensors, values, meta = _prepare(scan, reverse, FORTH_ROWS, 1, parts)
    batch, length, dim, n, blocks, parts = values[:6]
    new = functools.partial(scan.u.new_empty, dtype=torch.float32)
    save_total = save and scan.z is not None
    out = scan.u.new_empty((batch, length, dim))
    total = new((batch, length, dim) if meta["K"] > 1 or save_total else 0)
    saved = new(meta["K"] * batch * triton.cdiv(length, SAVED_EVERY) * n * dim) if save else None
    with torch.cuda.device_of(out):
        ends, sums = _first_pass(tensors, values, meta, flow=False)
        _scan[(batch * parts * blocks,)](*tensors, ends, sums, out, total, saved, *values, **meta)
    return out, total if save_total else new(0), new(0) if saved is None else saved


def backward(
    grad: Tensor, scan: Scan, reverse: Sequence[bool], total: Tensor, saved: Tensor,
    parts: int | None = None,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """grad (B, L, D), the arguments and results of `forward` → gradients in the order of `Scan`."""
    tensors, values, meta = _prepare(scan, reverse, BACK_ROWS, SAVED_EVERY, parts)
    batch, length, dim, n, blocks, parts = values[:6]
    K, new = meta["K"], functools.partial(grad.new_empty, dtype=torch.float32)
    grad, programs = grad.contiguous(), batch * K * parts * blocks
    d_u, d_delta, d_z = (None if t is None else t.new_empty(t.shape) for t in (*scan[:2], scan.z))
    d_A, d_pairs = new((batch, K, parts, n, dim)), new((batch, K, blocks, length, n, 2))
    d_D, d_bias = new((2, batch, K, parts, dim))
    scratch = new(programs * SAVED_EVERY // GROUP.value * meta["STATES"] * BLOCK.value)
    with torch.cuda.device_of(grad):
        flow = (*values[:8], 0, *grad.stride()[:2], *values[11:])
        ends, sums = _first_pass((grad, *tensors[1:]), flow, meta, flow=True)
        _gradients[(programs,)](
            grad, *tensors, total, saved, ends, sums, scratch,
            d_u, d_delta, d_A, d_pairs, d_D, d_bias, d_z, *values, **meta,
        )  # fmt: skip
    d_B, d_C = d_pairs.sum(2).transpose(0, 1).unbind(-1)
    d_A = d_A.sum((0, 2)).transpose(1, 2)
    return d_u, d_delta, d_A, d_B, d_C, d_D.sum((0, 2)), d_bias.sum((0, 2)), d_z


def _first_pass(
    tensors: tuple, values: tuple[int, ...], meta: dict[str, int], flow: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The last states of the parts and the sums of their steps, or None for a single part."""
    u, delta, A, pairs, _, bias, z = tensors
    batch, _, dim, n, blocks, parts = values[:6]
    if parts <= 1:
        return None, None
    rows, z = batch * meta["K"] * parts, z if flow else None
    ends, sums = (bias.new_empty((rows, *t), dtype=torch.float32) for t in ((n, dim), (dim,)))
    _ends[(rows * blocks,)](u, delta, A, pairs, bias, z, ends, sums, *values, FLOW=flow, **meta)
    return ends, sums


def _prepare(
    scan: Scan, reverse: Sequence[bool], rows: int, unit: int, parts: int | None
) -> tuple[tuple, tuple[int, ...], dict[str, int]]:
    """Tensors, sizes and strides for kernels, in parts of whole units, and compile options."""
    if scan.u.device.type == "cpu" and isinstance(_scan, triton.JITFunction):
        raise ConfigError('backend="triton" does not run on a CPU: use "auto".')
    if not hasattr(tl, "tuple"):
        raise ConfigError(f'triton {triton.__version__} is before 3.3: use backend="torch".')
    K, batch, length, dim, n = scan.sizes
    u, delta = (t if t.stride(-1) == 1 else t.contiguous() for t in (scan.u, scan.delta))
    z = scan.z if scan.z is None or scan.z.stride(-1) == 1 else scan.z.contiguous()
    A, D, bias = scan.A.transpose(1, 2).contiguous(), scan.D.contiguous(), scan.bias.contiguous()
    pairs = torch.empty(*scan.B.shape, 2, dtype=torch.float32, device=u.device)
    pairs[..., 0], pairs[..., 1] = scan.B, scan.C
    blocks = triton.cdiv(dim, BLOCK.value)
    cores = torch.cuda.get_device_properties(u.device).multi_processor_count if u.is_cuda else 0
    useful = min(BUSY * cores // max(batch * blocks, 1), length // max(unit, LEAST))
    # Cutting computes much twice: two or three parts are slower than one.
    parts = parts or (useful if useful > 3 else 1)
    span = max(1, triton.cdiv(length, parts * unit)) * unit
    backwards = sum(flip << k for k, flip in enumerate(reverse))
    sizes = (batch, length, dim, n, blocks, triton.cdiv(length, span), span, backwards)
    strides = (*u.stride()[:3], *delta.stride()[:3], *((0, 0) if z is None else z.stride()[:2]))
    states = triton.next_power_of_2(n)
    warps = max(1, states * BLOCK.value // 512)  # 16 numbers of each tile per thread
    meta = {"K": K, "ROWS": rows, "STATES": states, "num_warps": warps}
    return (u, delta, A, pairs, D, bias, z), (*sizes, *strides), meta
