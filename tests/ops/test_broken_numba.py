"""numba that is installed, and whose import fails, as one that needs an older NumPy."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vitrail.errors import ConfigError
from vitrail.ops import _machine_code
from vitrail.ops.causal_conv import causal_conv
from vitrail.ops.causal_conv.reference import causal_conv_reference
from vitrail.ops.selective_scan import Scan, op, selective_scan
from vitrail.ops.selective_scan.reference import selective_scan_reference

PROBLEM = "Numba needs NumPy 2.2 or less"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba as it is when its import fails."""

    def fail(*_arguments: object) -> None:
        raise ImportError(PROBLEM)

    monkeypatch.setattr(op, "INSTALLED", {"numba"})
    monkeypatch.setattr(_machine_code, "_load", fail)
    _machine_code.machine_code.cache_clear()  # of what other tests have loaded


def scan(*tensors: Tensor) -> Scan:
    """A scan in both directions, without a gate."""
    return Scan(*tensors, None)


def inputs() -> list[Tensor]:
    """u, delta, A, B, C, D and bias."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((2, 1, 5, 4), (2, 1, 5, 4), (2, 4, 3), (2, 1, 5, 3), (2, 1, 5, 3), (2, 4), (2, 4))
    return [(-torch.rand(s, generator=generator)).requires_grad_() for s in sizes]


def gradients(function: Callable[..., Tensor], tensors: list[Tensor]) -> list[Tensor]:
    """The output, and the gradients of all inputs."""
    output = function(*tensors)
    return [output.detach(), *torch.autograd.grad(output.square().sum(), tensors)]


@pytest.mark.usefixtures("broken")
def test_auto_is_pytorch_with_one_warning() -> None:
    tensors, turn = inputs(), [False, True]
    x, weight, bias = tensors[0][0], torch.rand(2, 4, 4).requires_grad_(), tensors[5]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scanned = gradients(lambda *t: selective_scan(scan(*t), turn), tensors)
        convolved = gradients(lambda *t: causal_conv(*t, turn), [x, weight, bias])
        torch.testing.assert_close(selective_scan(scan(*tensors), turn), scanned[0])
    assert [str(w.message).partition(":")[0] for w in caught] == [
        f"numba cannot be imported ({PROBLEM})"
    ]
    torch.testing.assert_close(
        scanned, gradients(lambda *t: selective_scan_reference(scan(*t), turn), tensors)
    )
    torch.testing.assert_close(
        convolved, gradients(lambda *t: causal_conv_reference(*t, turn), [x, weight, bias])
    )


@pytest.mark.usefixtures("broken")
def test_the_gradient_may_be_the_first_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has kept the forward kernel before numba broke."""
    kernels = pytest.importorskip("vitrail.ops.causal_conv._numba")
    monkeypatch.setattr(kernels, "forward", causal_conv_reference)
    tensors, turn = [inputs()[0][0], torch.rand(2, 4, 4).requires_grad_(), inputs()[5]], [True] * 2
    with pytest.warns(RuntimeWarning, match="numba cannot be imported"):
        convolved = gradients(lambda *t: causal_conv(*t, turn), tensors)
    torch.testing.assert_close(
        convolved, gradients(lambda *t: causal_conv_reference(*t, turn), tensors)
    )


@pytest.mark.usefixtures("broken")
def test_a_backend_that_is_named_is_refused() -> None:
    with pytest.raises(ConfigError, match="numba cannot be imported .*: reinstall it, or use"):
        selective_scan(scan(*inputs()), [False, True], "numba")
    with pytest.raises(ConfigError, match="numba cannot be imported .*: reinstall it, or use"):
        causal_conv(inputs()[0][0], torch.rand(2, 4, 4), inputs()[5], [False, True], "numba")
