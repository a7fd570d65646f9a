"""What the causal convolution keeps, whatever the shapes, strides and precisions."""

from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.ops.test_selective_scan import (
    BACKENDS,
    LAYOUTS,
    assert_near,
    drawn,
    every_backend,
    every_operator,
    lengths,
)
from vitrail.errors import ConfigError
from vitrail.ops.causal_conv import causal_conv, op


class Case(NamedTuple):
    """What a convolution is made of."""

    sizes: tuple[int, int, int, int] = (2, 7, 3, 4)  # (B, L, D, taps)
    reverse: tuple[bool, ...] = (False, True)
    layout: str = "plain"
    seed: int = 0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of its tensors, by their names."""
        batch, length, dim, taps = self.sizes
        ways = len(self.reverse)
        return {"x": (batch, length, dim), "weight": (ways, dim, taps), "bias": (ways, dim)}


@st.composite
def cases(draw: st.DrawFn, layouts: tuple[str, ...] = ("plain",)) -> Case:
    dim, taps = draw(st.sampled_from([1, 3, 16, 24])), draw(st.integers(1, 5))
    return Case(
        (draw(st.integers(1, 3)), draw(lengths()), dim, taps),
        tuple(draw(st.lists(st.booleans(), min_size=1, max_size=2))),
        draw(st.sampled_from(layouts)),
        draw(st.integers(0, 999)),
    )


def stored_tensors(case: Case, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator, stored = torch.Generator().manual_seed(case.seed), LAYOUTS[case.layout][0]
    return {
        name: torch.randn(stored(shape), generator=generator, dtype=torch.float64).to(dtype)
        for name, shape in case.shapes.items()
    }


def viewed(case: Case, stored: dict[str, Tensor]) -> list[Tensor]:
    return [LAYOUTS[case.layout][1](t, case.shapes[name]) for name, t in stored.items()]


def train(case: Case, backend: str, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The output, and the gradients of what is stored."""
    stored = {name: t.detach().clone().requires_grad_() for name, t in stored.items()}
    out = causal_conv(*viewed(case, stored), case.reverse, backend)
    generator = torch.Generator().manual_seed(case.seed + 1)
    slope = torch.randn(out.shape, generator=generator).bfloat16()  # the same in every precision
    out.backward(slope.to(out.dtype))
    return {"out": out.detach(), **{name: t.grad for name, t in stored.items()}}


def judge(case: Case, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """As `train`, by the reference in float64."""
    return train(case, "reference", {name: t.double() for name, t in stored.items()})


@pytest.mark.parametrize("layout", LAYOUTS)
@drawn
@given(case=cases())
def test_backends_agree_and_so_do_their_gradients(layout: str, case: Case) -> None:
    case = case._replace(layout=layout)
    stored = stored_tensors(case)
    exact = judge(case, stored)
    for backend in BACKENDS:
        assert_near(train(case, backend, stored), exact, 0.0, {"": 5e-6})


@drawn
@given(case=cases(tuple(LAYOUTS)))
def test_half_precision_costs_a_few_roundings(case: Case) -> None:
    stored = stored_tensors(case, torch.bfloat16)
    found, exact = train(case, "numba", stored), judge(case, stored)
    assert all(t.dtype == torch.bfloat16 for t in found.values())
    # Autograd adds up the gradients of what is expanded, and rounds once more.
    assert_near(found, exact, 2**-7, {"": 2**-7 if case.layout == "expanded" else 2**-10})
    # Gradients in plain PyTorch are PyTorch's own, rounded at every token.
    plain = {"out": train(case, "torch", stored)["out"]}
    assert_near(plain, {"out": exact["out"]}, 2**-7, {"": 2**-10})


@drawn
@given(case=cases(tuple(LAYOUTS)))
def test_float64_is_exact(case: Case) -> None:
    stored = {name: t.double() for name, t in stored_tensors(case).items()}
    exact = judge(case, stored)
    for backend in ("torch", "auto"):
        assert_near(train(case, backend, stored), exact, 0.0, {"": 1e-12})


@every_backend
@drawn
@given(case=cases())
def test_a_reversed_direction_is_a_flip_of_input_and_output(backend: str, case: Case) -> None:
    x, weight, bias = viewed(case, stored_tensors(case))
    ahead = causal_conv(x.flip(1), weight, bias, [not r for r in case.reverse], backend)
    back = causal_conv(x, weight, bias, case.reverse, backend)
    torch.testing.assert_close(back, ahead.flip(2), rtol=1e-6, atol=1e-6)


@every_backend
def test_no_token_sees_what_comes_after_it_in_its_direction(backend: str) -> None:
    x, weight, bias = viewed(Case(), stored_tensors(Case()))
    before = causal_conv(x, weight, bias, (False, True), backend)
    x = x.clone()
    x[:, 3] = torch.nan
    after = causal_conv(x, weight, bias, (False, True), backend)
    hit = after.isnan().any(-1).any(1)
    assert hit.tolist() == [[3 <= t <= 6 for t in range(7)], [0 <= t <= 3 for t in range(7)]]
    clean = ~after.isnan()
    torch.testing.assert_close(after[clean], before[clean])


@every_operator
def test_what_is_not_finite_shows_in_the_gradients(backend: str) -> None:
    stored = stored_tensors(Case((2, 9, 17, 4)))
    stored["x"][1, 4, 16] = torch.nan
    found = train(Case((2, 9, 17, 4)), backend, stored)
    expected = train(Case((2, 9, 17, 4)), "reference", stored)
    for name, t in expected.items():
        torch.testing.assert_close(found[name], t, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("taps", [1, 4])
def test_gradcheck(taps: int, backend: str) -> None:
    case = Case((2, 5, 2, taps))
    inputs = [t.double().requires_grad_() for t in stored_tensors(case).values()]
    assert torch.autograd.gradcheck(lambda *t: causal_conv(*t, case.reverse, backend), inputs)


@pytest.mark.parametrize("layout", ["plain", "swapped"])
def test_operators_are_what_they_say(layout: str) -> None:
    case = Case((2, 65, 3, 4), layout=layout)
    tensors, ways = viewed(case, stored_tensors(case)), list(case.reverse)
    learning = [t.clone().requires_grad_() for t in tensors]
    torch.library.opcheck(op._compiled, (*learning, ways, "auto"))
    torch.library.opcheck(op._gradient, (torch.randn(2, 2, 65, 3), *tensors, ways))


def test_one_tap_is_a_scale_and_a_shift() -> None:
    x, weight, bias = viewed(Case((2, 7, 3, 1)), stored_tensors(Case((2, 7, 3, 1))))
    expected = torch.stack([F.silu(x * weight[k, :, 0] + bias[k]) for k in range(2)])
    torch.testing.assert_close(causal_conv(x, weight, bias, (False, True)), expected)


@every_operator
def test_an_empty_batch_is_an_empty_output(backend: str) -> None:
    case = Case((0, 7, 3, 4))
    found = train(case, backend, stored_tensors(case))
    assert found["out"].shape == (2, 0, 7, 3)
    assert not found["weight"].any()


@every_operator
@pytest.mark.parametrize("sizes", [(2, 0, 3, 4), (0, 0, 3, 4)])
def test_an_empty_sequence_is_an_empty_output(sizes: Any, backend: str) -> None:
    assert train(Case(sizes), backend, stored_tensors(Case(sizes)))["out"].shape == (2, *sizes[:3])


@every_operator
def test_the_same_bits_again_and_with_any_number_of_threads(backend: str) -> None:
    case = Case((4, 133, 40, 4))
    stored, threads = stored_tensors(case), torch.get_num_threads()
    first = train(case, backend, stored)
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            again = train(case, backend, stored)
            assert not [name for name, t in first.items() if not torch.equal(again[name], t)]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "change",
    [{"weight": (2, 4, 4)}, {"weight": (1, 3, 4)}, {"bias": (2, 4)}, {"bias": (1, 3)}],
)
def test_a_shape_that_does_not_fit_is_one_line(change: dict[str, Any]) -> None:
    tensors = {**stored_tensors(Case()), **{n: torch.zeros(s) for n, s in change.items()}}
    with pytest.raises(
        ConfigError, match=r"^weight [^\n]* do not fit 2 directions of 3 channels\.$"
    ):
        causal_conv(*tensors.values(), (False, True))


def test_tensors_elsewhere_and_filters_with_another_axis_are_one_line() -> None:
    x, weight, bias = stored_tensors(Case()).values()
    with pytest.raises(ConfigError, match="weight on meta and bias on cpu: give tensors on one"):
        causal_conv(x, weight.to("meta"), bias, (False, True))
    with pytest.raises(ConfigError, match="do not fit 2 directions"):
        causal_conv(x, weight[:, :, None], bias, (False, True))
    with pytest.raises(ConfigError, match="filters of no width: give d_conv of at least 1"):
        causal_conv(x, weight[..., :0], bias, (False, True))


@pytest.mark.parametrize("learns", [False, True])
def test_a_backend_that_cannot_run_is_one_line(learns: bool) -> None:
    tensors = [t.requires_grad_(learns) for t in stored_tensors(Case()).values()]
    with pytest.raises(ConfigError, match=r"backend='nunba' is not one of .*Did you mean 'numba'"):
        causal_conv(*tensors, (False, True), "nunba")
    exact = [t.detach().double().requires_grad_(learns) for t in tensors]
    with pytest.raises(ConfigError, match='backend="numba" has no float64: use "torch"'):
        causal_conv(*exact, (False, True), "numba")
