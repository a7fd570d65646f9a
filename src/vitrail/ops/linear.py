"""Matrix products x Wᵀ + b in float32 on a CPU, by the library that is faster there.

PyTorch gives such products to MKL, which does not use the widest instructions of AMD processors.
oneDNN, which comes with PyTorch too, does: it is about twice as fast on an AMD EPYC with AVX-512
(`benchmarks/linear.py`). The two round differently in the last bits.
"""

import functools
import platform
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from vitrail.errors import check_choice
from vitrail.ops.guard import guarded

__all__ = ["BACKENDS", "linear", "mkl_is_slow"]  # `product` is for layers

Backend = Literal["auto", "torch", "onednn"]
BACKENDS = get_args(Backend)
SMALLEST = 2**20  # multiply-adds; for fewer, oneDNN's 10 µs per call cost more than they save


@guarded
def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, backend: Backend = "auto"
) -> Tensor:
    """The product of a linear layer, differentiable any number of times.

    Args:
        x: (..., C).
        weight: (D, C).
        bias: (D,), or None.
        backend: "torch" is `F.linear`. "onednn" is oneDNN for plain float32 tensors on a CPU;
            `F.linear` computes everything else, and all that is traced, exported, compiled, cast
            by autocast or transformed by `torch.func`. "auto" is "onednn" for products of at least
            `SMALLEST` multiply-adds where `mkl_is_slow()`, else "torch".

    Returns:
        (..., D).

    Raises:
        ConfigError: `backend` is unknown.

    Example:
        >>> linear(torch.ones(2, 3), torch.ones(4, 3), torch.ones(4))[0]
        tensor([4., 4., 4., 4.])
    """
    return product(x, weight, bias, backend)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, backend: str = "auto") -> Tensor:
    """`linear` for layers, whose arguments fit.

    Args:
        x: (..., C).
        weight: (D, C).
        bias: (D,), or None.
        backend: as in `linear`.

    Returns:
        (..., D).

    Raises:
        ConfigError: `backend` is unknown.

    Example:
        >>> product(torch.ones(2, 3), torch.ones(4, 3)).shape
        torch.Size([2, 4])
    """
    if backend not in BACKENDS:
        check_choice("backend", backend, BACKENDS)
    if backend == "torch" or x.ndim < 2 or not (_is_plain(x) and _is_plain(weight)):
        return F.linear(x, weight, bias)  # before sizes are read, which a trace would fix
    if backend == "auto" and not (mkl_is_slow() and weight.shape[0] * x.numel() >= SMALLEST):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return _Linear.apply(x, weight, bias)
    return _product(x, weight, bias)


@functools.cache
@guarded
def mkl_is_slow() -> bool:
    """Whether oneDNN is faster than MKL here.

    Returns:
        True on an AMD processor, if this PyTorch has both MKL and oneDNN.

    Example:
        >>> mkl_is_slow() in (True, False)
        True
    """
    libraries = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    cpuinfo = Path("/proc/cpuinfo")
    vendor = cpuinfo.read_text("utf-8")[:1000] if cpuinfo.is_file() else platform.processor()
    # private: oneDNN's product; without it, F.linear (test_values_and_gradients_are_those_of_...).
    return libraries and hasattr(torch.ops.mkldnn, "_linear_pointwise") and "AMD" in vendor


def _is_plain(x: Tensor) -> bool:
    """Whether oneDNN's operator can take the tensor, and nobody records or transforms it."""
    return (
        type(x) in (Tensor, nn.Parameter)
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and not torch.is_autocast_enabled("cpu")
        # private: inside torch.func's vmap and grad and inside forward-mode AD, tensors look
        # plain, but oneDNN's operator has no rule for them and raises
        # (tests/ops/test_linear.py, test_what_onednn_cannot_do_is_left_to_torch).
        and not torch._C._are_functorch_transforms_active()
        # private: the level of forward-mode AD, as above.
        and forward_ad._current_level < 0
        and x.numel() > 0
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    # private: the operator that PyTorch's compiler calls for oneDNN; there is no public one for
    # tensors in the ordinary layout (tests/ops/test_linear.py compares it with F.linear).
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    """The product and its gradients, which are products too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None and bias.requires_grad
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Each by `linear`, which can be differentiated again.
        x, weight = ctx.saved_tensors
        flat = grad.flatten(0, -2)
        d_x = linear(grad, weight.t(), None, "onednn") if ctx.needs_input_grad[0] else None
        d_weight = None
        if ctx.needs_input_grad[1]:
            d_weight = linear(flat.t(), x.flatten(0, -2).t(), None, "onednn")
        return d_x, d_weight, flat.sum(0) if ctx.has_bias else None
