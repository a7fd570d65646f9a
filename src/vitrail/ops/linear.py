"""x Wᵀ + b in float32 on a CPU, by the library that is quicker there.

PyTorch gives such products to MKL. On processors that are not Intel's, MKL leaves their widest
instructions unused; oneDNN, which comes with PyTorch too, uses them: about twice as fast on an AMD
EPYC with AVX-512 (`benchmarks/linear.py`). They round differently in the last bits.
"""

import functools
import platform
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from vitrail.errors import check_choice

BACKENDS = ("auto", "torch", "onednn")
SMALLEST = 2**20  # multiply-adds; for fewer, oneDNN's 10 µs a call cost more than they save


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, backend: str = "auto") -> Tensor:
    """x (..., C), weight (D, C), bias (D) → (..., D).

    backend: "torch" is `F.linear`; "onednn" leaves to it what is not a plain float32 tensor on a
    CPU, and what traces, exports, compiles, casts or transforms; "auto" is "onednn" for large
    products on x86 processors that are not Intel's, else "torch".
    """
    check_choice("backend", backend, BACKENDS)
    if backend == "torch" or x.ndim < 2 or not (_plain(x) and _plain(weight)):
        return F.linear(x, weight, bias)  # before any question of sizes, which a trace would keep
    if backend == "auto" and not (mkl_is_slow() and weight.shape[0] * x.numel() >= SMALLEST):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return _Linear.apply(x, weight, bias)
    return _product(x, weight, bias)


@functools.cache
def mkl_is_slow() -> bool:
    """Whether PyTorch has MKL, on an x86 processor that is not Intel's, and oneDNN beside it."""
    libraries = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    cpuinfo = Path("/proc/cpuinfo")
    vendor = cpuinfo.read_text("utf-8")[:1000] if cpuinfo.is_file() else platform.processor()
    return libraries and hasattr(torch.ops.mkldnn, "_linear_pointwise") and "AMD" in vendor


def _plain(x: Tensor) -> bool:
    return (
        type(x) in (Tensor, nn.Parameter)
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
        and x.numel() > 0
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    """The product and its gradients, which are products too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None and bias.requires_grad
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Each by `linear`, which gradients can pass through again.
        x, weight = ctx.saved_tensors
        flat = grad.flatten(0, -2)
        to_x = linear(grad, weight.t(), None, "onednn") if ctx.needs_input_grad[0] else None
        to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = linear(flat.t(), x.flatten(0, -2).t(), None, "onednn")
        return to_x, to_weight, flat.sum(0) if ctx.biased else None
