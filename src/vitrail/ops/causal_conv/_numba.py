"""The causal convolution on a CPU, all directions in one pass over the tokens, and its gradient.

A task of the forward pass is `TOKENS` tokens of one image; of the backward pass, one image and
`WIDTH` adjacent channels, as in the scan.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.ops._jit import jit
from vitrail.ops._simd import (
    BYTES,
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
from vitrail.ops.threads import run_tasks

_CALL = record(
    "directions batch length dim d_conv out x x_batch x_token weight bias grad d_x d_weight d_bias"
)
f32 = np.float32
TOKENS = 32  # per task of the forward pass


@jit
def _forward(start: int, stop: int, calls: Any, reverse: Any) -> None:
    c = calls[0]
    pieces = -(-c.length // TOKENS)
    for task in range(start, stop):
        image, first = task // pieces, task % pieces * TOKENS
        for t in range(first, min(first + TOKENS, c.length)):
            for k in range(c.directions):
                # Entries of the filter before `begin` are for tokens before the first.
                before = c.length - 1 - t if reverse[k] else t
                begin = max(0, c.d_conv - 1 - before)
                step = -c.x_token if reverse[k] else c.x_token
                x = c.x + image * c.x_batch + t * c.x_token - (c.d_conv - 1 - begin) * step
                weight = c.weight + 4 * (k * c.d_conv + begin) * c.dim
                bias = c.bias + 4 * k * c.dim
                out = c.out + 4 * ((k * c.batch + image) * c.length + t) * c.dim
                for d in range(0, 4 * c.dim, BYTES):
                    value = load(bias + d)
                    for i in range(c.d_conv - begin):
                        at = weight + 4 * i * c.dim + d
                        value = fma(load(at), load(x + i * step + d), value)
                    store(out + d, mul(value, vector_sigmoid(value)))


@jit
def _direction(c: Any, k: int, reverse: int, image: int, d: int, x: int, d_value: int) -> None:
    """The gradients of one direction and one block of channels; adds to d_x.

    x: address of the tokens, padded at both ends; d_value: address of memory for as many, which is
    filled with the gradients before SiLU.
    """
    margin = c.d_conv - 1
    zero, one, minus = splat(f32(0)), splat(f32(1)), splat(f32(-1))
    weight = c.weight + 4 * (k * c.d_conv * c.dim + d)  # (K, d_conv, D)
    bias = load(c.bias + 4 * (k * c.dim + d))
    sum_ = zero
    for i in range(margin):  # beyond both ends the gradient is 0
        store(d_value + i * BYTES, zero)
        store(d_value + (margin + c.length + i) * BYTES, zero)
    for t in range(c.length):
        value = bias
        for i in range(c.d_conv):
            at = t + (2 * margin - i if reverse else i)
            value = fma(load(weight + 4 * i * c.dim), load(x + at * BYTES), value)
        s = vector_sigmoid(value)
        gradient = mul(s, fma(value, fma(s, minus, one), one))
        at = c.grad + 4 * (((k * c.batch + image) * c.length + t) * c.dim + d)
        gradient = mul(load(at), gradient)
        store(d_value + (margin + t) * BYTES, gradient)
        sum_ = add(sum_, gradient)
    store(c.d_bias + 4 * ((image * c.directions + k) * c.dim + d), sum_)
    for i in range(c.d_conv):
        sum_, shift = zero, 2 * margin - i if reverse else i
        for t in range(c.length):
            sum_ = fma(load(d_value + (margin + t) * BYTES), load(x + (t + shift) * BYTES), sum_)
        at = c.d_weight + 4 * (((image * c.directions + k) * c.d_conv + i) * c.dim + d)
        store(at, sum_)
    for t in range(c.length):
        at = c.d_x + 4 * ((image * c.length + t) * c.dim + d)
        value = zero if k == 0 else load(at)
        for i in range(c.d_conv):
            shift = i if reverse else 2 * margin - i
            factor = load(weight + 4 * i * c.dim)
            value = fma(factor, load(d_value + (t + shift) * BYTES), value)
        store(at, value)


@jit
def _backward(start: int, stop: int, calls: Any, reverse: Any) -> None:
    c = calls[0]
    size = (c.length + 2 * (c.d_conv - 1)) * WIDTH
    memory = np.zeros(2 * size + 16, np.float32)
    x = (memory.ctypes.data + 63) & -64
    blocks = c.dim // WIDTH
    for task in range(start, stop):
        image, d = task // blocks, task % blocks * WIDTH
        for t in range(c.length):
            value = load(c.x + image * c.x_batch + t * c.x_token + 4 * d)
            store(x + (c.d_conv - 1 + t) * BYTES, value)
        for k in range(c.directions):
            _direction(c, k, reverse[k], image, d, x, x + 4 * size)


def _prepare(
    x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]
) -> tuple[np.ndarray, np.ndarray, list[Tensor]]:
    """The record that kernels read, `reverse` as an array, and the tensors it points to."""
    x, weight, bias = x.float(), weight.float(), bias.float()
    if pad := -x.shape[-1] % WIDTH:
        x, bias, weight = F.pad(x, (0, pad)), F.pad(bias, (0, pad)), F.pad(weight, (0, 0, 0, pad))
    x = x if x.stride(-1) == 1 else x.contiguous()
    weight, bias = weight.transpose(1, 2).contiguous(), bias.contiguous()
    call = np.zeros(1, _CALL)
    c = call[0]
    (c["batch"], c["length"], c["dim"]), (c["directions"], c["d_conv"]) = x.shape, weight.shape[:2]
    c["x_batch"], c["x_token"] = (4 * s for s in x.stride()[:2])
    c["x"], c["weight"], c["bias"] = x.data_ptr(), weight.data_ptr(), bias.data_ptr()
    return call, np.array(reverse, np.int64), [x, weight, bias]


def forward(x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]) -> Tensor:
    """x (B, L, D), weight (K, D, d_conv), bias (K, D), reverse (K) → (K, B, L, D), float32."""
    call, flags, inputs = _prepare(x, weight, bias, reverse)
    out = torch.empty(len(reverse), *inputs[0].shape)
    call["out"] = out.data_ptr()
    run_tasks(_forward, x.shape[0] * -(-x.shape[1] // TOKENS), call, flags)
    return out[..., : x.shape[-1]]


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """grad (K, B, L, D), contiguous, arguments of `forward` → gradients of x, weight, bias."""
    dim = x.shape[-1]
    call, flags, inputs = _prepare(x, weight, bias, reverse)
    batch, length, wide = inputs[0].shape
    grad = F.pad(grad.float(), (0, wide - dim))
    k, d_conv = weight.shape[0], weight.shape[2]
    d_x = torch.empty(batch, length, wide)
    d_weight, d_bias = torch.empty(batch, k, d_conv, wide), torch.empty(batch, k, wide)
    outputs = {"grad": grad, "d_x": d_x, "d_weight": d_weight, "d_bias": d_bias}
    for name, tensor in outputs.items():
        call[name] = tensor.data_ptr()
    run_tasks(_backward, batch * (wide // WIDTH), call, flags)
    d_weight = d_weight.sum(0).transpose(1, 2)[:, :dim].contiguous()
    return d_x[..., :dim].contiguous(), d_weight, d_bias.sum(0)[:, :dim].contiguous()
