"""The selective scan as a PyTorch operator, which one of several backends computes.

There are three operators behind `selective_scan`: one for inference, which saves nothing;
one for training, which also returns what its gradient needs; and that gradient. All have shapes
that `torch.compile` and `torch.export` can follow for any batch and length.
"""

import importlib
import importlib.util
import os
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from vitrail.errors import ConfigError, check_choice
from vitrail.ops.guard import guarded
from vitrail.ops.operator import gradients_of_reference, is_transformed, operator
from vitrail.ops.selective_scan import _onnx
from vitrail.ops.selective_scan._torch import CHUNK
from vitrail.ops.selective_scan.reference import Scan, selective_scan_reference

BACKENDS = ("auto", "reference", "torch", "numba", "triton", "export")
# Read once, as numba does. Its kernels are made of instructions and do not run as Python.
JIT_DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
# Once, too: to look for numba, which kernels that are kept do not load, takes 0.1 ms.
INSTALLED = {name for name in ("numba", "triton") if importlib.util.find_spec(name)}


@guarded
def selective_scan(scan: Scan, reverse: Sequence[bool], backend: str = "auto") -> Tensor:
    """The selective scan of Mamba (Gu & Dao 2023, https://arxiv.org/abs/2312.00752).

    For each direction k, over its tokens in its order,

        Δ = softplus(delta + bias),  h = exp(Δ A) h + Δ u B,  y = C h + D u

    and the output is silu(z) Σ_k y_k. States and sums are at least float32, whatever the inputs
    are. No tensor is flipped.

    Args:
        scan: the inputs.
        reverse: for each direction, whether it runs from the last token to the first.
        backend: "auto" is Triton on a CUDA device, numba on a CPU where it is installed, and else
            plain PyTorch, as always in float64 and under NUMBA_DISABLE_JIT. "triton", "numba" and
            "torch" name one of them; they agree up to rounding. "reference" is slow, and the one to
            read, and computes second derivatives and within transforms of torch.func anyway.
            "export" is for graphs that leave PyTorch, and is selected inside `torch.onnx.export`
            anyway.

    Returns:
        (B, L, D) in the dtype of u.

    Raises:
        ConfigError: the backend is unknown or cannot run here, or shapes do not fit.

    Example:
        >>> u, B, D = torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 3), torch.ones(1, 4)
        >>> scan = Scan(u, u, -torch.ones(1, 4, 3), B, B, D, D, None)
        >>> selective_scan(scan, [False], "torch").shape
        torch.Size([2, 5, 4])
    """
    check_choice("backend", backend, BACKENDS)
    try:
        _check(scan, reverse)
    except AttributeError:
        raise ConfigError("a Scan holds tensors: give torch.as_tensor of each array.") from None
    if backend == "reference" or is_transformed():
        return selective_scan_reference(scan, reverse).to(scan.u.dtype)
    trains = torch.is_grad_enabled() and not torch.compiler.is_exporting()
    trains = trains and any(t is not None and t.requires_grad for t in scan)
    to_onnx = torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export()
    if backend == "export" or to_onnx:
        if trains:
            raise ConfigError('backend="export" has no gradient: train with "auto".')
        return _onnx.forward(scan, reverse).to(scan.u.dtype)
    if trains:
        return _train(*scan, list(reverse), backend)[0]
    return _infer(*scan, list(reverse), backend)


@guarded
def resolve(backend: str, u: Tensor) -> str:
    """The backend that computes a scan.

    Args:
        backend: as in `selective_scan`.
        u: the signal, whose dtype and device decide what "auto" is.

    Returns:
        `backend`, or the one that "auto" stands for.

    Raises:
        ConfigError: the backend has no float64, or is not installed, or TorchScript traces.

    Example:
        >>> resolve("auto", torch.zeros(1, dtype=torch.float64))
        'torch'
    """
    check_choice("backend", backend, BACKENDS)
    return choose_backend(backend, u)


def choose_backend(backend: str, u: Tensor) -> str:
    """`resolve` of arguments that were checked.

    Args:
        backend: as in `selective_scan`.
        u: the signal, whose dtype and device decide what "auto" is.

    Returns:
        `backend`, or the one that "auto" stands for.

    Raises:
        ConfigError: as of `resolve`.

    Example:
        >>> choose_backend("auto", torch.zeros(1, dtype=torch.float64))
        'torch'
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined]
        raise ConfigError("a Mamba cannot be traced by torch.jit: use torch.export.")
    if backend == "auto":
        if u.dtype == torch.float64:
            return "torch"
        if u.device.type == "cuda":
            return "triton" if _triton_is_new() else "torch"
        has_numba = "numba" in INSTALLED and not JIT_DISABLED
        return "numba" if has_numba and u.device.type == "cpu" else "torch"
    if backend in ("numba", "triton") and u.dtype == torch.float64:
        raise ConfigError(f'backend="{backend}" has no float64: use "torch".')
    if backend in ("numba", "triton") and backend not in INSTALLED:
        raise ConfigError(f'backend="{backend}" is not installed: pip install {backend}.')
    if backend == "numba" and JIT_DISABLED:
        raise ConfigError(
            "NUMBA_DISABLE_JIT is set, which keeps numba from compiling: unset it, or use "
            'backend="torch".'
        )
    return backend


def _triton_is_new() -> bool:
    """Whether Triton is at least 3.3, of PyTorch 2.7, whose language has tuples."""
    if "triton" not in INSTALLED:
        return False
    return hasattr(importlib.import_module("triton.language"), "tuple")


def give_up_numba(backend: str, problem: Exception) -> None:
    """Leaves numba aside in this process, because it is installed and cannot be imported.

    Args:
        backend: as in `selective_scan`; "auto" then stands for PyTorch.
        problem: what the import raised.

    Raises:
        ConfigError: the backend is "numba".

    Example:
        >>> give_up_numba("numba", ImportError("Numba needs NumPy 2.2 or less"))
        Traceback (most recent call last):
        vitrail.errors.ConfigError: numba cannot be imported (Numba needs NumPy 2.2 or less): ...
    """
    text = f"numba cannot be imported ({problem}): reinstall it"
    if backend == "numba":
        raise ConfigError(f'{text}, or use backend="auto".')
    if "numba" in INSTALLED:
        INSTALLED.discard("numba")
        warnings.warn(
            f"{text}. PyTorch computes in its place, slowly.", RuntimeWarning, stacklevel=2
        )


def _run(step: str, backend: str, scan: Scan, *arguments: Any) -> Any:
    """A function of the backend's module, which gets the arguments."""
    try:
        return getattr(_backend(backend, scan.u), step)(*arguments)
    except (ImportError, OSError) as problem:
        if "numba" not in (backend, choose_backend(backend, scan.u)):
            raise
        give_up_numba(backend, problem)
        return getattr(_backend("torch", scan.u), step)(*arguments)


def _backend(name: str, u: Tensor) -> ModuleType:
    return importlib.import_module(f"vitrail.ops.selective_scan._{choose_backend(name, u)}")


def _check(scan: Scan, reverse: Sequence[bool]) -> None:
    k, batch, length, dim, n = scan.sizes
    expected = {
        "u": (k, batch, length, dim),
        "delta": (k, batch, length, dim),
        "A": (k, dim, n),
        "B": (k, batch, length, n),
        "C": (k, batch, length, n),
        "D": (k, dim),
        "bias": (k, dim),
        "z": (batch, length, dim),
    }
    if not (dim and n):
        raise ConfigError(
            f"u {tuple(scan.u.shape)} and A {tuple(scan.A.shape)} have no channels or no states: "
            "give at least one of each."
        )
    device = scan.u.device
    for name, tensor in scan._asdict().items():
        if tensor is None and name == "z":
            continue
        if tensor.shape != expected[name]:
            raise ConfigError(
                f"{name} of shape {tuple(tensor.shape)} does not fit u {tuple(scan.u.shape)} and "
                f"A {tuple(scan.A.shape)}: it should be {expected[name]}."
            )
        if not tensor.is_floating_point() or tensor.device != device:
            raise ConfigError(
                f"{name} of {tensor.dtype} on {tensor.device} does not fit u of {scan.u.dtype} on "
                f"{device}: give tensors of a floating point dtype on one device."
            )
    if len(reverse) != k:
        raise ConfigError(
            f"reverse={list(reverse)} has {len(reverse)} entries for {k} directions: give one each."
        )


@operator("vitrail::selective_scan")
def _infer(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor,
    z: Tensor | None, reverse: Sequence[bool], backend: str,
) -> Tensor:  # fmt: skip
    scan = Scan(u, delta, A, B, C, D, bias, z)
    return _run("forward", backend, scan, scan, reverse, False)[0].to(u.dtype)


@operator("vitrail::selective_scan_train", differentiable=True)
def _train(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor,
    z: Tensor | None, reverse: Sequence[bool], backend: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    scan = Scan(u, delta, A, B, C, D, bias, z)
    out, total, saved = _run("forward", backend, scan, scan, reverse, True)
    return out.to(u.dtype), total, saved


@operator("vitrail::selective_scan_backward")
def _gradient(
    grad: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
    bias: Tensor, z: Tensor | None, total: Tensor, saved: Tensor,
    reverse: Sequence[bool], backend: str,
) -> list[Tensor]:  # fmt: skip
    scan = Scan(u, delta, A, B, C, D, bias, z)
    with torch.autocast(u.device.type, enabled=False):
        grads = _run("backward", backend, scan, grad, scan, reverse, total, saved)
    pairs = zip(grads, scan, strict=True)
    return [g.to(t.dtype).contiguous() for g, t in pairs if g is not None and t is not None]


@torch.library.register_fake("vitrail::selective_scan")
def _(u, delta, A, B, C, D, bias, z, reverse, backend):  # type: ignore[no-untyped-def]
    return u.new_empty(u.shape[1:])


@torch.library.register_fake("vitrail::selective_scan_train")
def _(u, delta, A, B, C, D, bias, z, reverse, backend):  # type: ignore[no-untyped-def]
    k, batch, length, dim = u.shape
    exact = torch.promote_types(u.dtype, torch.float32)
    chunks = (length + CHUNK - 1) // CHUNK
    total = u.new_empty(u.shape[1:] if z is not None else [0], dtype=exact)
    # Flat, because `torch.export` fails on a rounded-up length in the middle of a shape.
    saved = u.new_empty(k * batch * chunks * A.shape[-1] * dim, dtype=exact)
    return u.new_empty(u.shape[1:]), total, saved


@torch.library.register_fake("vitrail::selective_scan_backward")
def _(grad, u, delta, A, B, C, D, bias, z, total, saved, reverse, backend):  # type: ignore[no-untyped-def]
    inputs = [u, delta, A, B, C, D, bias, z]
    return [t.new_empty(t.shape) for t in inputs if t is not None]


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *tensors, reverse, backend = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # or zeros as large as total and saved are made
    ctx.reverse, ctx.backend = reverse, backend


def _differentiate(ctx, grad, _total, _saved):  # type: ignore[no-untyped-def]
    if grad is None:
        return (None,) * 10
    if torch.is_grad_enabled():  # for second derivatives

        def reference(*tensors: Tensor) -> Tensor:
            return selective_scan_reference(Scan(*tensors), ctx.reverse)

        return *gradients_of_reference(reference, ctx.saved_tensors[:8], grad), None, None
    grads = _gradient(grad.contiguous(), *ctx.saved_tensors, ctx.reverse, ctx.backend)
    return (*grads, *[None] * (10 - len(grads)))


torch.library.register_autograd(
    "vitrail::selective_scan_train", _differentiate, setup_context=_save
)


def _flops(u: torch.Size, _delta: torch.Size, A: torch.Size, *_rest: Any, **_: Any) -> int:
    return 9 * u.numel() * A[-1]


# For PyTorch's counter of FLOPs: nine per token, channel and state, as VMamba counts them
# (https://arxiv.org/abs/2401.10166).
FLOPS = {torch.ops.vitrail.selective_scan: _flops}
