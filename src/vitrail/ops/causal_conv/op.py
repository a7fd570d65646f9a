"""The causal convolution: PyTorch's depthwise convolution, or on a CPU numba's where installed.

PyTorch's is quick forwards where channels stand last, but it reads and writes every direction three
times; backwards it is slow on a CPU.
"""

import importlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError, check_choice
from vitrail.ops.causal_conv import reference
from vitrail.ops.selective_scan.op import BACKENDS, resolve


def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool], backend: str = "auto"
) -> Tensor:
    """Depthwise convolution that sees only what came before, then SiLU, for K directions at once.

    x (B, L, D), weight (K, D, taps), bias (K, D) → (K, B, L, D). Token t of direction k is
    silu(bias + Σ_i weight[..., taps - 1 - i] x[t - i]), with x[t + i] instead if reverse[k].
    backend: as for `selective_scan`; the numbers are the same up to rounding.

    Raises `ConfigError` for shapes that do not fit.
    """
    if weight.shape[:2] != (len(reverse), x.shape[-1]) or bias.shape != weight.shape[:2]:
        raise ConfigError(
            f"weight {tuple(weight.shape)} and bias {tuple(bias.shape)} do not fit "
            f"{len(reverse)} directions of {x.shape[-1]} channels."
        )
    check_choice("backend", backend, BACKENDS)
    if backend == "reference":
        return reference.forward(x, weight, bias, reverse)
    # An exported graph is for other machines too: it has the library's convolution.
    compiled = resolve(backend, x) == "numba" and not torch.compiler.is_exporting()
    if compiled and x.device.type == "cpu":
        return _compiled(x, weight, bias, list(reverse))
    return _convolve(x, weight, bias, reverse)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]) -> Tensor:
    taps, length = weight.shape[-1], x.shape[1]
    image = x.transpose(1, 2).unsqueeze(2)  # (B, D, 1, L), channels last in memory
    found = []
    for k, backwards in enumerate(reverse):
        kernel = (weight[k].flip(-1) if backwards else weight[k])[:, None, None].to(x.dtype)
        all_of = F.conv2d(
            image, kernel, bias[k].to(x.dtype), padding=(0, taps - 1), groups=x.shape[-1]
        )
        start = taps - 1 if backwards else 0
        found.append(all_of[:, :, 0, start : start + length].transpose(1, 2))
    return F.silu(torch.stack(found)).to(x.dtype)  # autocast makes it a half


@torch.library.custom_op("vitrail::causal_conv", mutates_args=())
def _compiled(x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]) -> Tensor:
    numba = importlib.import_module("vitrail.ops.causal_conv.numba_backend")
    return numba.forward(x, weight, bias, reverse).to(x.dtype).contiguous()


@torch.library.custom_op("vitrail::causal_conv_backward", mutates_args=())
def _gradient(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    numba = importlib.import_module("vitrail.ops.causal_conv.numba_backend")
    d_x, d_weight, d_bias = numba.backward(grad, x, weight, bias, reverse)
    return d_x.to(x.dtype), d_weight.to(weight.dtype), d_bias.to(bias.dtype)


@_compiled.register_fake
def _(x, weight, bias, reverse):  # type: ignore[no-untyped-def]
    return x.new_empty(len(reverse), *x.shape)


@_gradient.register_fake
def _(grad, x, weight, bias, reverse):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape), weight.new_empty(weight.shape), bias.new_empty(bias.shape)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.reverse = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, grad):  # type: ignore[no-untyped-def]
    return (*_gradient(grad.contiguous(), *ctx.saved_tensors, ctx.reverse), None)


torch.library.register_autograd("vitrail::causal_conv", _differentiate, setup_context=_keep)
