"""Operators are registered with PyTorch, and calling them does not load its compiler."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd import forward_ad

import vitrail
from tests.models.small import images_for, small
from vitrail.errors import ConfigError
from vitrail.layers.mamba import Mamba
from vitrail.ops.causal_conv import causal_conv
from vitrail.ops.selective_scan import Scan, op, selective_scan
from vitrail.ops.selective_scan.op import resolve

VIM = """
import sys, torch, vitrail
model = vitrail.VisionMamba(16, 8, num_classes=3, dim=16, depth=1)
model(torch.zeros(1, 3, 16, 16)).sum().backward()
assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
"""


def run(code: str, **environment: str) -> str:
    """Runs code in a new process → what it wrote to stderr."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_a_vision_mamba_computes_without_the_compiler_of_pytorch() -> None:
    assert run(VIM + 'assert "torch._dynamo" not in sys.modules') == ""


def test_kernels_are_compiled_by_the_first_process_only(tmp_path: Path) -> None:
    code = VIM + 'print("numba" in sys.modules, file=sys.stderr)'
    first, second = (run(code, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert (first, second) == ("True\n", "False\n")
    assert len(list((tmp_path / "vitrail").glob("*.o"))) == 4  # two kernels and their gradients


@pytest.mark.parametrize("environment", [{"NUMBA_DISABLE_JIT": "1"}, {"NUMBA_DISABLE_JIT": "0"}])
def test_kernels_that_numba_may_not_compile_are_left_to_pytorch(
    environment: dict[str, str],
) -> None:
    disabled = environment["NUMBA_DISABLE_JIT"] == "1"
    loaded = "not in" if disabled else "in"
    code = VIM + f'assert "vitrail.ops.selective_scan._numba" {loaded} sys.modules'
    assert run(code, **environment) == ""


def test_numba_by_name_needs_its_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op, "JIT_DISABLED", True)
    assert resolve("auto", torch.zeros(1)) == "torch"
    with pytest.raises(ConfigError, match='NUMBA_DISABLE_JIT is set, .* backend="torch"'):
        resolve("numba", torch.zeros(1))


@pytest.mark.slow
def test_without_a_directory_for_the_cache_kernels_are_compiled_with_one_warning(
    tmp_path: Path,
) -> None:
    package = tmp_path / "vitrail"
    shutil.copytree(
        Path(vitrail.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    (package / "ops/__pycache__").touch()  # a file where the directory would be is refused to root
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "cache")
    code = VIM + f"assert vitrail.__file__.startswith({str(tmp_path)!r})"
    environment = {
        "HOME": nowhere, "XDG_CACHE_HOME": nowhere, "PYTHONPATH": str(tmp_path),
        "NUMBA_CACHE_DIR": nowhere,
    }  # fmt: skip
    errors = run(code, **environment)
    assert errors.count("RuntimeWarning") == 1
    assert "set NUMBA_CACHE_DIR to a directory that can be written" in errors


def test_an_operator_without_a_gradient_says_so() -> None:
    u, weights = torch.ones(1, 1, 3, 4, requires_grad=True), torch.ones(1, 4)
    state = torch.ones(1, 1, 3, 2)
    rates = -torch.ones(1, 4, 2)
    out = op._infer(u, u, rates, state, state, weights, weights, None, [False], "torch")
    with pytest.raises(RuntimeError, match="vitrail::selective_scan has no gradient"):
        out.sum().backward()


@pytest.mark.parametrize("more", [{}, {"scan": "v1", "fusion": "gate"}, {"scan": "forward"}])
def test_second_derivatives_of_a_vision_mamba_are_those_of_the_reference(
    more: dict[str, Any],
) -> None:
    torch.manual_seed(0)
    sizes = {"image_size": 16, "patch_size": 8, "num_classes": 3, "dim": 16, "depth": 2}
    model = vitrail.VisionMamba(**sizes, **more)
    images = torch.randn(2, 3, 16, 16, requires_grad=True)

    def penalty() -> list[torch.Tensor]:
        (grad,) = torch.autograd.grad(model(images).square().sum(), images, create_graph=True)
        return list(torch.autograd.grad(grad.square().sum(), [images, *model.parameters()]))

    result = penalty()
    for module in model.modules():
        if isinstance(module, Mamba):
            module.backend = "reference"
    for own, expected in zip(result, penalty(), strict=True):
        torch.testing.assert_close(
            own, expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item()
        )


def test_transforms_of_torch_func() -> None:
    """Per-sample gradients and forward-mode derivatives, against finite steps."""
    torch.manual_seed(0)
    model = vitrail.VisionMamba(16, 8, num_classes=3, dim=16, depth=1).eval()
    images, direction = torch.randn(2, 2, 3, 16, 16)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(weights: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, weights, (image[None],)).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, images)
    model(images).square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(per_sample[name].sum(0), parameter.grad, rtol=1e-3, atol=1e-5)
    _, tangent = torch.func.jvp(model, (images,), (direction,))
    step = (model(images + 1e-2 * direction) - model(images - 1e-2 * direction)) / 2e-2
    torch.testing.assert_close(tangent, step, rtol=1e-2, atol=1e-3)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(model(forward_ad.make_dual(images, direction)))
    torch.testing.assert_close(dual.tangent, tangent)
    u, rates, state = torch.randn(1, 1, 3, 4), -torch.ones(1, 4, 2), torch.ones(1, 1, 3, 2)
    D = rates[..., 0]
    for call in (  # without any gradients
        lambda x: selective_scan(Scan(x, x, rates, state, state, D, D, None), [False]),
        lambda x: causal_conv(x[0], rates, D, [True]),
    ):
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(call(forward_ad.make_dual(u, u)))
        torch.testing.assert_close(dual.tangent, torch.func.jvp(call, (u,), (u,))[1])


@pytest.mark.parametrize("name", ["VisionMamba", "XCiT"])
def test_the_default_dtype_is_the_callers_own(name: str) -> None:
    """Kernels for float32 wrote into memory of half the size where the default was bfloat16."""
    torch.manual_seed(0)
    model = small(name).eval()
    images = images_for(model).requires_grad_()

    def outputs() -> list[torch.Tensor]:
        logits = model(images)
        return [logits, *torch.autograd.grad(logits.square().sum(), [images])]

    expected = outputs()
    for dtype in (torch.float64, torch.bfloat16):
        try:
            torch.set_default_dtype(dtype)
            found = outputs()
        finally:
            torch.set_default_dtype(torch.float32)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of PyTorch's attention
@pytest.mark.parametrize("name", ["CCT", "LeViT", "MobileViT", "XCiT"])
def test_gradients_per_sample_of_models_with_channels_last(name: str) -> None:
    model = small(name)
    images, buffers = images_for(model), dict(model.named_buffers())
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(weights: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, (weights, buffers), (image[None],)).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, images)
    model(images).square().sum().backward()
    head = model.get_parameter(list(weights)[-1])
    torch.testing.assert_close(
        per_sample[list(weights)[-1]].sum(0), head.grad, rtol=1e-3, atol=1e-5
    )
