"""The Triton scan against the reference: on a GPU, or without one in Triton's interpreter."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed")

import triton
from triton.backends.compiler import GPUTarget

from vitrail.errors import ConfigError
from vitrail.ops.selective_scan import Scan, selective_scan
from vitrail.ops.selective_scan import _torch as plain
from vitrail.ops.selective_scan import _triton as kernels
from vitrail.ops.selective_scan.reference import selective_scan_reference

INTERPRETED = not isinstance(kernels._scan, triton.JITFunction)
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
RUNS = INTERPRETED or DEVICE == "cuda"
runs = pytest.mark.skipif(not RUNS, reason="test_in_the_interpreter runs it")
CHUNK = 8 if INTERPRETED else plain.CHUNK  # interpreting takes about 20 ms for a token


@pytest.fixture(autouse=True)
def chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many tokens the states are saved for: fewer where each of them takes long."""
    if INTERPRETED:
        monkeypatch.setattr(plain, "CHUNK", CHUNK)
        monkeypatch.setattr(kernels, "SAVED_EVERY", CHUNK)
        monkeypatch.setattr(kernels, "CHUNK", triton.language.constexpr(CHUNK))


def draw(
    sizes: tuple[int, int, int, int, int], gated: bool = True, dtype: torch.dtype = torch.float32
) -> Scan:
    """A random scan of sizes (K, B, L, D, N)."""
    ways, batch, length, dim, n = sizes

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape).to(DEVICE, dtype)

    wide, narrow = (ways, batch, length, dim), (ways, batch, length, n)
    return Scan(
        u=normal(*wide),
        delta=normal(*wide) - 1,
        A=-torch.rand(ways, dim, n).to(DEVICE) * 2 - 0.1,
        B=normal(*narrow),
        C=normal(*narrow),
        D=torch.randn(ways, dim).to(DEVICE),
        bias=torch.randn(ways, dim).to(DEVICE),
        z=normal(batch, length, dim) if gated else None,
    )


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest number."""
    assert found.shape == expected.shape
    found, expected = found.double(), expected.detach().double()
    return ((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30)).item()


def exact(scan: Scan, reverse: list[bool], grad: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """The output and all gradients, by the reference in float64."""
    leaves = Scan(*(None if t is None else t.double().requires_grad_() for t in scan))
    out = selective_scan_reference(leaves, reverse)
    found = iter(torch.autograd.grad(out, [t for t in leaves if t is not None], grad.double()))
    return out, [None if t is None else next(found) for t in leaves]


def check(scan: Scan, reverse: list[bool], limit: float, parts: int | None = None) -> None:
    """Output, what is kept for the gradient, and every gradient."""
    grad = torch.randn_like(scan.u[0])
    expected, gradients = exact(scan, reverse, grad)
    out, total, saved = kernels.forward(scan, reverse, save=True, parts=parts)
    assert out.dtype == scan.u.dtype
    assert error(out, expected) < limit
    _, kept_total, kept_saved = plain.forward(scan, reverse, save=True)
    assert total.shape == kept_total.shape and total.dtype == saved.dtype == torch.float32
    assert total.numel() == 0 or error(total, kept_total) < 1e-5
    assert error(saved, kept_saved) < 1e-5
    found = kernels.backward(grad, scan, reverse, total, saved, parts=parts)
    for name, mine, theirs in zip(Scan._fields, found, gradients, strict=True):
        assert (mine is None) == (theirs is None), name
        assert mine is None or error(mine, theirs) < limit, name


@runs
@pytest.mark.parametrize("seed", range(5 if DEVICE == "cpu" else 60))
def test_any_shape_equals_the_reference(seed: int) -> None:
    dice = random.Random(seed)
    torch.manual_seed(seed)
    # Interpreting takes about 10 ms for a token and 32 channels.
    batch, longest = (1, 12) if DEVICE == "cpu" else (3, 300)
    ways, n, parts = dice.choice((1, 2)), (1, 8, 16, 64, 5)[seed % 5], dice.choice((1, 2, 3, 7))
    sizes = (ways, dice.randint(1, batch), dice.randint(1, longest), dice.randint(1, 40), n)
    reverse = [dice.random() < 0.5 for _ in range(ways)]
    check(draw(sizes, gated=dice.random() < 0.7), reverse, 1e-5, parts)


@runs
@pytest.mark.parametrize("length, reverse", [(1, True), (3, False), (4, True), (5, False)])
def test_lengths_about_a_group_of_tokens(length: int, reverse: bool) -> None:
    check(draw((2, 2, length, 2, 3)), [reverse, not reverse], 1e-5)


@runs
@pytest.mark.parametrize("more, reverse, parts", [(0, True, 1), (1, True, 3), (2, False, 2)])
def test_lengths_about_a_chunk(more: int, reverse: bool, parts: int) -> None:
    check(draw((1, 1, CHUNK + more, 2, 3)), [reverse], 1e-5, parts)


@runs
@pytest.mark.parametrize("dtype, limit", [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_half_precision_sums_in_float32(dtype: torch.dtype, limit: float) -> None:
    check(draw((2, 1, 9, 20, 16), dtype=dtype), [False, True], limit)


@runs
@pytest.mark.skipif(DEVICE == "cpu", reason="takes a GPU: the interpreter would take hours")
@pytest.mark.parametrize("sizes", [(2, 1, 1500, 384, 16), (2, 64, 197, 384, 16)])
def test_real_sizes_equal_the_plain_backend(sizes: tuple[int, int, int, int, int]) -> None:
    """In as many parts as the kernels choose themselves."""
    scan, grad = draw(sizes), torch.randn(*sizes[1:4], device=DEVICE)
    found, expected = (b.forward(scan, [False, True], save=True) for b in (kernels, plain))
    assert all(error(mine, theirs) < 1e-5 for mine, theirs in zip(found, expected, strict=True))
    found = kernels.backward(grad, scan, [False, True], *found[1:])
    expected = plain.backward(grad, scan, [False, True], *expected[1:])
    for mine, theirs in zip(found, expected, strict=True):
        assert error(mine, theirs) < 1e-4


@runs
def test_cut_or_whole_is_the_same() -> None:
    scan, reverse = draw((2, 1, CHUNK + 5, 3, 4)), [False, True]
    whole = kernels.forward(scan, reverse, save=True, parts=1)
    cut = kernels.forward(scan, reverse, save=True, parts=6)
    assert all(error(a, b) < 2e-6 for a, b in zip(cut, whole, strict=True))
    assert torch.equal(kernels.forward(scan, reverse, save=False, parts=6)[0], cut[0])
    scan = draw((1, 1, CHUNK + 2, 3, 4))
    grad = torch.randn_like(scan.u[0])
    _, total, saved = kernels.forward(scan, [True], save=True)
    one, two = (kernels.backward(grad, scan, [True], total, saved, parts=n) for n in (1, 2))
    assert all(error(a, b) < 2e-6 for a, b in zip(two, one, strict=True))


@runs
def test_the_same_inputs_give_the_same_bits() -> None:
    sizes = (2, 1, 6, 40, 8) if DEVICE == "cpu" else (2, 8, 300, 100, 16)
    scan, reverse = draw(sizes), [True, False]
    _, total, saved = kernels.forward(scan, reverse, save=True)
    grad = torch.randn_like(scan.u[0])
    first, second = (kernels.backward(grad, scan, reverse, total, saved) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@runs
def test_strides_are_followed() -> None:
    """As a model gives them: one signal for both ways, and slices of projections."""
    ways, batch, length, dim, n = 2, 2, 5, 6, 4
    scan = draw((ways, batch, length, dim, n))
    signal = scan.u[0].expand(ways, -1, -1, -1)
    steps = scan.delta.permute(1, 2, 0, 3).contiguous().permute(2, 0, 1, 3)
    projected = torch.cat((scan.B, scan.C), -1)
    strided = scan._replace(
        u=signal,
        delta=steps,
        B=projected[..., :n],
        C=projected[..., n:].transpose(1, 3).contiguous().transpose(1, 3),
        z=torch.cat((scan.z, scan.z), -1)[..., dim:],
        A=scan.A.transpose(1, 2).contiguous().transpose(1, 2),
    )
    dense = Scan(*(t.contiguous() for t in strided))
    grad = torch.randn(batch, dim, length, device=DEVICE).transpose(1, 2)
    each = []
    for one in (strided, dense):
        out, total, saved = kernels.forward(one, [False, True], save=True)
        each.append((out, *kernels.backward(grad, one, [False, True], total, saved)))
    assert all(torch.equal(a, b) for a, b in zip(*each, strict=True))


@runs
def test_steps_of_any_size() -> None:
    """Tiny steps keep their digits, and great ones overflow nothing."""
    scan = draw((1, 1, 1, 32, 1))
    raw = torch.linspace(-30, 90, 32, device=DEVICE)
    one = torch.ones(1, 1, 1, 1, device=DEVICE)
    scan = scan._replace(
        delta=raw.expand(1, 1, 1, 32), bias=scan.bias * 0, D=scan.D * 0, B=one, C=one, z=None
    )
    scan = scan._replace(u=torch.ones_like(scan.u))
    out, _, _ = kernels.forward(scan, [False], save=False)
    step = torch.nn.functional.softplus(raw.double(), threshold=50)
    assert ((out.flatten().double() - step) / step).abs().max() < 5e-6
    check(draw((1, 1, 3, 4, 2))._replace(z=torch.linspace(-120, 120, 12).view(1, 3, 4).to(DEVICE)),
          [True], 1e-5)  # fmt: skip


@runs
def test_the_operator_learns_through_it() -> None:
    scan = draw((1, 1, 4, 5, 3))
    leaves = Scan(*(t.requires_grad_() for t in scan))
    out = selective_scan(leaves, [True], backend="triton")
    grad = torch.randn_like(out)
    expected, gradients = exact(scan, [True], grad)
    assert error(out.detach(), expected) < 1e-5
    for found, theirs in zip(torch.autograd.grad(out, list(leaves), grad), gradients, strict=True):
        assert error(found, theirs) < 1e-5


@pytest.mark.skipif(RUNS, reason="the kernels run here as they are")
def test_in_the_interpreter() -> None:
    """In a process of its own: Triton decides when it is imported whether it interprets."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        command,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.skipif(RUNS, reason="the kernels run here as they are")
def test_a_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not run on a CPU"):
        selective_scan(draw((1, 1, 2, 3, 4)), [False], backend="triton")


class NoDevice:
    """What Triton asks of a driver to compile for a GPU that is not there."""

    get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda _device: 0)
    is_active = staticmethod(lambda: True)


@pytest.mark.skipif(RUNS, reason="the kernels run here as they are")
@pytest.mark.skipif("nvidia" not in triton.backends.backends, reason="Triton has no CUDA compiler")
@pytest.mark.parametrize("sizes, gated", [((1, 1, 200, 33, 8), False), ((2, 1, 1, 1, 1), True)])
def test_the_kernels_compile_for_a_gpu(
    sizes: tuple[int, int, int, int, int], gated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they would be launched, on tensors without memory, but for the launch."""
    compiled, run = [], triton.JITFunction.run

    def compile_only(kernel: triton.JITFunction, *args: object, **options: object) -> None:
        compiled.append(run(kernel, *args, **{**options, "warmup": True}))

    monkeypatch.setattr(triton.JITFunction, "run", compile_only)
    monkeypatch.setattr(triton.runtime.driver, "_active", NoDevice())
    scan = Scan(*(None if t is None else t.to("meta") for t in draw(sizes, gated)))
    reverse = [True, False][: sizes[0]]
    out, total, saved = kernels.forward(scan, reverse, save=True, parts=3)
    kernels.backward(out, scan, reverse, total, saved, parts=3)
    assert len(compiled) == (4 if sizes[2] > 1 else 2)
    assert all("cubin" in kernel.asm for kernel in compiled)
