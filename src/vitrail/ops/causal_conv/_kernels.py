"""The kernels of the causal convolution, for numba to compile: `_numba.py` calls them.

A task of the forward pass is `TOKENS` tokens of one image; of the backward pass, one image and
`WIDTH` adjacent channels, as in the scan.
"""

from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from vitrail.ops._simd import add, entry, fma, jit, load, mul, splat, store, vector_sigmoid
from vitrail.ops._vectors import BYTES, WIDTH
from vitrail.ops.causal_conv._numba import CALL, TOKENS

f32 = np.float32


def forward() -> Any:
    """The forward pass."""

    @entry(np.dtype(np.int64), CALL)
    def kernel(start, stop, rows, number, call, _scratch):  # type: ignore[no-untyped-def]
        reverse, c = carray(rows, number), carray(call, 1)[0]
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

    return kernel


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


def backward() -> Any:
    """The backward pass, with memory for two arrays of padded tokens, zeros at first."""

    @entry(np.dtype(np.int64), CALL)
    def kernel(start, stop, rows, number, call, x):  # type: ignore[no-untyped-def]
        reverse, c = carray(rows, number), carray(call, 1)[0]
        size = (c.length + 2 * (c.d_conv - 1)) * WIDTH
        blocks = c.dim // WIDTH
        for task in range(start, stop):
            image, d = task // blocks, task % blocks * WIDTH
            for t in range(c.length):
                value = load(c.x + image * c.x_batch + t * c.x_token + 4 * d)
                store(x + (c.d_conv - 1 + t) * BYTES, value)
            for k in range(c.directions):
                _direction(c, k, reverse[k], image, d, x, x + 4 * size)

    return kernel
