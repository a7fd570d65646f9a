"""The causal convolution: PyTorch's depthwise convolution, or numba's on a CPU where installed.

PyTorch's forward pass is fast with channels last, but reads and writes every direction three
times; its backward pass is slow on a CPU.
"""

import importlib
from collections.abc import Sequence
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError, check_choice
from vitrail.ops.causal_conv.reference import causal_conv_reference
from vitrail.ops.guard import guarded
from vitrail.ops.operator import gradients_of_reference, is_transformed, operator
from vitrail.ops.selective_scan.op import BACKENDS, choose_backend, give_up_numba


@guarded
def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool], backend: str = "auto"
) -> Tensor:
    """Depthwise causal convolution, then SiLU, for K directions at once.

    Token t of direction k is silu(bias + Σ_i weight[..., d_conv - 1 - i] x[t - i]), with x[t + i]
    instead if reverse[k].

    Args:
        x: tokens (B, L, D).
        weight: filters (K, D, d_conv); the last entry is for the token itself.
        bias: (K, D).
        reverse: for each direction, whether it runs from the last token to the first.
        backend: as in `selective_scan`; results are the same up to rounding.

    Returns:
        (K, B, L, D), in the dtype of x.

    Raises:
        ConfigError: shapes do not fit, or the backend is unknown or cannot run here.

    Example:
        >>> x, weight = torch.ones(1, 5, 2), torch.zeros(2, 2, 4)
        >>> causal_conv(x, weight, torch.zeros(2, 2), [False, True]).shape
        torch.Size([2, 1, 5, 2])
    """
    check_choice("backend", backend, BACKENDS)
    shape, sizes = x.shape, weight.shape
    if len(shape) != 3 or not x.is_floating_point():
        raise ConfigError(
            f"x of shape {tuple(shape)} and {x.dtype} is no sequence of tokens: give numbers "
            "(B, L, D) of a floating point dtype."
        )
    if len(sizes) != 3 or sizes[:2] != (len(reverse), shape[-1]) or bias.shape != sizes[:2]:
        raise ConfigError(
            f"weight {tuple(sizes)} and bias {tuple(bias.shape)} do not fit "
            f"{len(reverse)} directions of {shape[-1]} channels."
        )
    if not sizes[2]:
        raise ConfigError(
            f"weight {tuple(sizes)} has filters of no width: give d_conv of at least 1."
        )
    if not x.device == weight.device == bias.device:
        raise ConfigError(
            f"x on {x.device}, weight on {weight.device} and bias on {bias.device}: give tensors "
            "on one device."
        )
    if not (shape[1] or torch.compiler.is_compiling()):  # which PyTorch does not convolve
        return x.expand(len(reverse), *shape)
    if backend == "reference" or is_transformed():
        return causal_conv_reference(x, weight, bias, reverse)
    # An exported graph runs on other machines too: it has PyTorch's convolution.
    compiled = choose_backend(backend, x) == "numba" and not torch.compiler.is_exporting()
    if compiled and x.is_cpu:
        return _compiled(x, weight, bias, list(reverse), backend)
    return _convolve(x, weight, bias, reverse)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]) -> Tensor:
    d_conv, length = weight.shape[-1], x.shape[1]
    image = x.transpose(1, 2).unsqueeze(2)  # (B, D, 1, L), channels last in memory
    outputs = []
    for k, backwards in enumerate(reverse):
        kernel = (weight[k].flip(-1) if backwards else weight[k])[:, None, None].to(x.dtype)
        padded = F.conv2d(
            image, kernel, bias[k].to(x.dtype), padding=(0, d_conv - 1), groups=x.shape[-1]
        )
        start = d_conv - 1 if backwards else 0
        outputs.append(padded[:, :, 0, start : start + length].transpose(1, 2))
    return F.silu(torch.stack(outputs)).to(x.dtype)  # autocast returns half precision


def _numba() -> ModuleType:
    return importlib.import_module("vitrail.ops.causal_conv._numba")


@operator("vitrail::causal_conv", differentiable=True)
def _compiled(
    x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool], backend: str
) -> Tensor:
    try:
        out = _numba().forward(x, weight, bias, reverse)
    except (ImportError, OSError) as problem:
        give_up_numba(backend, problem)
        out = _convolve(x, weight, bias, reverse)
    return out.to(x.dtype).contiguous()


@operator("vitrail::causal_conv_backward")
def _gradient(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    d_x, d_weight, d_bias = _numba().backward(grad, x, weight, bias, reverse)
    return d_x.to(x.dtype), d_weight.to(weight.dtype), d_bias.to(bias.dtype)


@torch.library.register_fake("vitrail::causal_conv")
def _(x, weight, bias, reverse, backend):  # type: ignore[no-untyped-def]
    return x.new_empty(len(reverse), *x.shape)


@torch.library.register_fake("vitrail::causal_conv_backward")
def _(grad, x, weight, bias, reverse):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape), weight.new_empty(weight.shape), bias.new_empty(bias.shape)


def _save(ctx, inputs, **_output) -> None:  # type: ignore[no-untyped-def]
    *tensors, ctx.reverse, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, grad):  # type: ignore[no-untyped-def]
    def reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return causal_conv_reference(x, weight, bias, ctx.reverse)

    if torch.is_grad_enabled():  # for second derivatives
        return *gradients_of_reference(reference, ctx.saved_tensors, grad), None, None
    try:
        return (*_gradient(grad.contiguous(), *ctx.saved_tensors, ctx.reverse), None, None)
    except (ImportError, OSError) as problem:
        give_up_numba(ctx.backend, problem)
    with torch.enable_grad():
        grads = gradients_of_reference(reference, ctx.saved_tensors, grad)
    return *(None if d is None else d.detach() for d in grads), None, None


torch.library.register_autograd("vitrail::causal_conv", _differentiate, setup_context=_save)
