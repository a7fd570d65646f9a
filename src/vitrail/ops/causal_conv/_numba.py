"""The causal convolution on a CPU, all directions in one pass over the tokens, and its gradient.

The kernels are in `_kernels.py`: see `ops/_machine_code.py`.
"""

import array
import functools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from vitrail.ops._machine_code import machine_code
from vitrail.ops._vectors import WIDTH, record, records
from vitrail.ops.threads import run_tasks

CALL = record(
    "directions batch length dim d_conv x x_batch x_token weight bias out grad d_x d_weight d_bias"
)
TOKENS = 32  # per task of the forward pass
_code = functools.partial(machine_code, f"{__package__}._kernels")


def _prepare(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[list[int], list[Tensor]]:
    """The first fields of the record that kernels read, and the tensors that it points to."""
    x, weight, bias = x.float(), weight.float(), bias.float()
    if pad := -x.shape[-1] % WIDTH:
        x, bias, weight = F.pad(x, (0, pad)), F.pad(bias, (0, pad)), F.pad(weight, (0, 0, 0, pad))
    x = x if x.stride(-1) == 1 else x.contiguous()
    weight, bias = weight.transpose(1, 2).contiguous(), bias.contiguous()
    strides = [4 * stride for stride in x.stride()[:2]]
    addresses = [x.data_ptr(), *strides, weight.data_ptr(), bias.data_ptr()]
    return [weight.shape[0], *x.shape, weight.shape[1], *addresses], [x, weight, bias]


def forward(x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]) -> Tensor:
    """x (B, L, D), weight (K, D, d_conv), bias (K, D), reverse (K) → (K, B, L, D), float32."""
    fields, inputs = _prepare(x, weight, bias)
    batch, length, wide = inputs[0].shape
    # float32, whatever the default dtype and device are
    out, dim = inputs[0].new_empty(len(reverse), batch, length, wide), x.shape[-1]
    call = records(CALL, [[*fields, out.data_ptr()]])
    kernel = _code("forward")(array.array("q", reverse), len(reverse), call, 0)
    run_tasks(kernel, batch * -(-length // TOKENS))
    return out if wide == dim else out[..., :dim]


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """grad (K, B, L, D), contiguous, arguments of `forward` → gradients of x, weight, bias."""
    dim = x.shape[-1]
    fields, inputs = _prepare(x, weight, bias)
    batch, length, wide = inputs[0].shape
    grad = F.pad(grad.float(), (0, wide - dim))
    k, d_conv = weight.shape[0], weight.shape[2]
    new = inputs[0].new_empty
    d_x = new(batch, length, wide)
    d_weight, d_bias = new(batch, k, d_conv, wide), new(batch, k, wide)
    outputs = [tensor.data_ptr() for tensor in (grad, d_x, d_weight, d_bias)]
    call = records(CALL, [[*fields, 0, *outputs]])
    floats = 2 * (length + 2 * (d_conv - 1)) * WIDTH
    kernel = _code("backward")(array.array("q", reverse), len(reverse), call, floats)
    run_tasks(kernel, batch * (wide // WIDTH))
    d_weight = d_weight.sum(0).transpose(1, 2)[:, :dim].contiguous()
    return d_x[..., :dim].contiguous(), d_weight, d_bias.sum(0)[:, :dim].contiguous()
