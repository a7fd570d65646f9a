"""The causal convolution on a CPU, both directions in one pass over the tokens, and its gradient.

Forwards, a task is some tokens of one image; backwards, one image and `WIDTH` neighbouring
channels, as in the scan.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from vitrail.ops import threads
from vitrail.ops.simd import (
    BYTES,
    FAST,
    WIDTH,
    add,
    fma,
    load,
    mul,
    record,
    splat,
    store,
    vector_sigmoid,
)

_CALL = record(
    "directions batch length dim taps out x x_batch x_token weight bias grad d_x d_weight d_bias"
)
_jit = njit(fastmath=FAST, error_model="numpy", nogil=True, cache=True)
f32 = np.float32
TOKENS = 32  # of a task forwards


@_jit
def _forward(start: int, stop: int, calls: Any, reverse: Any) -> None:
    c = calls[0]
    pieces = -(-c.length // TOKENS)
    for task in range(start, stop):
        image, first = task // pieces, task % pieces * TOKENS
        for t in range(first, min(first + TOKENS, c.length)):
            for k in range(c.directions):
                # The taps that lie within the sequence.
                ahead = c.length - 1 - t if reverse[k] else t
                begin = max(0, c.taps - 1 - ahead)
                turn = -c.x_token if reverse[k] else c.x_token
                x = c.x + image * c.x_batch + t * c.x_token - (c.taps - 1 - begin) * turn
                weight = c.weight + 4 * (k * c.taps + begin) * c.dim
                bias = c.bias + 4 * k * c.dim
                out = c.out + 4 * ((k * c.batch + image) * c.length + t) * c.dim
                for d in range(0, 4 * c.dim, BYTES):
                    value = load(bias + d)
                    for tap in range(c.taps - begin):
                        at = weight + 4 * tap * c.dim + d
                        value = fma(load(at), load(x + tap * turn + d), value)
                    store(out + d, mul(value, vector_sigmoid(value)))


@_jit
def _direction(c: Any, k: int, reverse: int, image: int, d: int, x: int, slope: int) -> None:
    """x: the tokens, padded on both sides; slope: room for as many; adds to d_x."""
    far = c.taps - 1
    zero, one, minus = splat(f32(0)), splat(f32(1)), splat(f32(-1))
    weight = c.weight + 4 * (k * c.taps * c.dim + d)  # (K, taps, D)
    bias = load(c.bias + 4 * (k * c.dim + d))
    sum_ = zero
    for i in range(far):  # what lies beyond both ends has no slope
        store(slope + i * BYTES, zero)
        store(slope + (far + c.length + i) * BYTES, zero)
    for t in range(c.length):
        value = bias
        for tap in range(c.taps):
            at = t + (2 * far - tap if reverse else tap)
            value = fma(load(weight + 4 * tap * c.dim), load(x + at * BYTES), value)
        s = vector_sigmoid(value)
        steep = mul(s, fma(value, fma(s, minus, one), one))
        at = c.grad + 4 * (((k * c.batch + image) * c.length + t) * c.dim + d)
        steep = mul(load(at), steep)
        store(slope + (far + t) * BYTES, steep)
        sum_ = add(sum_, steep)
    store(c.d_bias + 4 * ((image * c.directions + k) * c.dim + d), sum_)
    for tap in range(c.taps):
        sum_, shift = zero, 2 * far - tap if reverse else tap
        for t in range(c.length):
            sum_ = fma(load(slope + (far + t) * BYTES), load(x + (t + shift) * BYTES), sum_)
        at = c.d_weight + 4 * (((image * c.directions + k) * c.taps + tap) * c.dim + d)
        store(at, sum_)
    for t in range(c.length):
        at = c.d_x + 4 * ((image * c.length + t) * c.dim + d)
        value = zero if k == 0 else load(at)
        for tap in range(c.taps):
            shift = tap if reverse else 2 * far - tap
            tap_weight = load(weight + 4 * tap * c.dim)
            value = fma(tap_weight, load(slope + (t + shift) * BYTES), value)
        store(at, value)


@_jit
def _backward(start: int, stop: int, calls: Any, reverse: Any) -> None:
    c = calls[0]
    room = (c.length + 2 * (c.taps - 1)) * WIDTH
    memory = np.zeros(2 * room + 16, np.float32)
    x = (memory.ctypes.data + 63) & -64
    blocks = c.dim // WIDTH
    for task in range(start, stop):
        image, d = task // blocks, task % blocks * WIDTH
        for t in range(c.length):
            value = load(c.x + image * c.x_batch + t * c.x_token + 4 * d)
            store(x + (c.taps - 1 + t) * BYTES, value)
        for k in range(c.directions):
            _direction(c, k, reverse[k], image, d, x, x + 4 * room)


def _prepare(
    x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]
) -> tuple[np.ndarray, np.ndarray, list[Tensor]]:
    """The record that kernels read, the ways, and the tensors it points to."""
    x, weight, bias = x.float(), weight.float(), bias.float()
    if pad := -x.shape[-1] % WIDTH:
        x, bias, weight = F.pad(x, (0, pad)), F.pad(bias, (0, pad)), F.pad(weight, (0, 0, 0, pad))
    x = x if x.stride(-1) == 1 else x.contiguous()
    weight, bias = weight.transpose(1, 2).contiguous(), bias.contiguous()
    call = np.zeros(1, _CALL)
    c = call[0]
    (c["batch"], c["length"], c["dim"]), (c["directions"], c["taps"]) = x.shape, weight.shape[:2]
    c["x_batch"], c["x_token"] = (4 * s for s in x.stride()[:2])
    c["x"], c["weight"], c["bias"] = x.data_ptr(), weight.data_ptr(), bias.data_ptr()
    return call, np.array(reverse, np.int64), [x, weight, bias]


def forward(x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]) -> Tensor:
    """x (B, L, D), weight (K, D, taps), bias (K, D) → (K, B, L, D), float32."""
    call, ways, read = _prepare(x, weight, bias, reverse)
    out = torch.empty(len(reverse), *read[0].shape)
    call["out"] = out.data_ptr()
    threads.run(_forward, x.shape[0] * -(-x.shape[1] // TOKENS), call, ways)
    return out[..., : x.shape[-1]]


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """grad (K, B, L, D), contiguous, and what the convolution read → gradients of these three."""
    dim = x.shape[-1]
    call, ways, read = _prepare(x, weight, bias, reverse)
    batch, length, wide = read[0].shape
    grad = F.pad(grad.float(), (0, wide - dim))
    k, taps = weight.shape[0], weight.shape[2]
    d_x = torch.empty(batch, length, wide)
    d_weight, d_bias = torch.empty(batch, k, taps, wide), torch.empty(batch, k, wide)
    written = {"grad": grad, "d_x": d_x, "d_weight": d_weight, "d_bias": d_bias}
    for name, tensor in written.items():
        call[name] = tensor.data_ptr()
    threads.run(_backward, batch * (wide // WIDTH), call, ways)
    d_weight = d_weight.sum(0).transpose(1, 2)[:, :dim].contiguous()
    return d_x[..., :dim].contiguous(), d_weight, d_bias.sum(0)[:, :dim].contiguous()
