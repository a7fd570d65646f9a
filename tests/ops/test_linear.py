"""The linear layer's products are the same whoever computes them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.linear import Linear
from vitrail.ops import linear as module
from vitrail.ops.linear import linear

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch comes without oneDNN"
)
CASES = {
    "a batch": ((3, 5, 7), 4, True),
    "no bias": ((6, 8), 3, False),
    "a map": ((2, 3, 4, 6), 5, True),
    "one row": ((1, 9), 2, True),
    "a vector": ((7,), 4, True),
    "nothing": ((0, 7), 4, True),
}


def tensors(shape: tuple[int, ...], width: int, bias: bool) -> list[Tensor | None]:
    x, weight = torch.randn(shape), torch.randn(width, shape[-1])
    return [x, weight, torch.randn(width) if bias else None]


@needs_onednn
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_float64(case: str) -> None:
    args = tensors(*CASES[case])
    results = []
    for backend, kind in (("onednn", torch.float32), ("torch", torch.float64)):
        leaves = [None if a is None else a.detach().to(kind, copy=True) for a in args]
        leaves = [a if a is None else a.requires_grad_() for a in leaves]
        out = linear(*leaves, backend=backend)
        (out * torch.linspace(-1, 1, out.numel(), dtype=kind).view_as(out)).sum().backward()
        results.append([out.detach(), *(a.grad for a in leaves if a is not None)])
    for mine, true in zip(*results, strict=True):
        torch.testing.assert_close(mine.double(), true, rtol=1e-5, atol=1e-5)


@needs_onednn
def test_views_of_any_strides() -> None:
    x, weight = torch.randn(4, 6, 10), torch.randn(12, 5)
    for view in (x[..., ::2], x.transpose(0, 1)[..., :5], x.permute(1, 0, 2)[:, 1:3, 2:7]):
        for w in (weight, weight[::2], torch.randn(5, 3).t()):
            torch.testing.assert_close(linear(view, w, None, "onednn"), F.linear(view, w))


@needs_onednn
def test_only_what_needs_a_gradient_gets_one() -> None:
    x, weight, bias = tensors((4, 6), 3, True)
    weight.requires_grad_()
    linear(x, weight, bias, "onednn").sum().backward()
    assert x.grad is None
    assert bias.grad is None
    torch.testing.assert_close(weight.grad, x.sum(0).expand(3, -1))
    frozen, x = weight.detach(), x.requires_grad_()
    linear(x, frozen, None, "onednn").sum().backward()
    torch.testing.assert_close(x.grad, frozen.sum(0).expand(4, -1))


@needs_onednn
def test_a_gradient_of_a_gradient() -> None:
    results = []
    for backend in ("onednn", "torch"):
        torch.manual_seed(0)
        x, weight = torch.randn(4, 6, requires_grad=True), torch.randn(3, 6, requires_grad=True)
        loss = linear(x, weight, None, backend).square().sum()
        (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
        gradient.square().sum().backward()
        results.append((x.grad, weight.grad))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)


@needs_onednn
def test_what_onednn_cannot_do_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError("not for oneDNN")

    monkeypatch.setattr(module, "_product", refuse)
    layer, x = Linear(64, 64), torch.randn(512, 64)
    layer.backend = "onednn"
    with pytest.raises(AssertionError, match="not for oneDNN"):
        layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    torch.func.vmap(layer)(x[:, None])
    torch.func.jvp(layer, (x,), (x,))
    with torch.device("meta"):
        Linear(8, 8)(torch.empty(2, 8))
    torch.export.export(layer, (x,))
    layer.double()(x.double())


@needs_onednn
def test_a_product_exports_for_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "mkl_is_slow", lambda: True)
    layer, batch = Linear(64, 64).eval(), torch.export.Dim("batch", min=1)
    exported = torch.export.export(layer, (torch.randn(512, 64),), dynamic_shapes=({0: batch},))
    x = torch.randn(7, 64)
    torch.testing.assert_close(exported.module()(x), layer(x))


def test_small_products_and_intels_processors_stay_with_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    monkeypatch.setattr(module, "_product", lambda *args: calls.append(args) or F.linear(*args))
    for slow in (False, True):
        monkeypatch.setattr(module, "mkl_is_slow", lambda slow=slow: slow)
        with torch.no_grad():
            linear(torch.randn(1023, 32), torch.randn(32, 32))
            assert not calls
            linear(torch.randn(1024, 32), torch.randn(32, 32))
            assert len(calls) == slow


def test_the_layer_is_pytorchs_with_another_product() -> None:
    layer = Linear(6, 3)
    assert isinstance(layer, nn.Linear)
    layer.backend = "onednn"
    x = torch.randn(2, 6)
    torch.testing.assert_close(layer(x), nn.Linear.forward(layer, x))
    with pytest.raises(ConfigError, match="backend"):
        linear(x, layer.weight, None, "mkl")
