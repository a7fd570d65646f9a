"""What every backend of the selective scan keeps, whatever the shapes, strides and precisions.

The judge is the reference in float64, given the same inputs, rounded as they are.
"""

import shutil
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vitrail.errors import ConfigError
from vitrail.ops.causal_conv import causal_conv
from vitrail.ops.selective_scan import Scan, matrix, op, resume, selective_scan

BACKENDS = ("reference", "torch", "numba")
OPERATORS = BACKENDS[1:]
every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_operator = pytest.mark.parametrize("backend", OPERATORS)

# How a tensor lies in memory: the shape that is stored, and the view of it that is given.
LAYOUTS: dict[str, tuple[Callable[..., Any], Callable[..., Tensor]]] = {
    "plain": (lambda s: s, lambda t, _: t),
    "strided": (lambda s: (*s[:-1], 2 * s[-1] + 1), lambda t, _: t[..., 1::2]),
    "inside": (lambda s: (*s[:-1], s[-1] + 5), lambda t, _: t[..., 2:-3]),
    "swapped": (lambda s: (*s[:-2], s[-1], s[-2]), lambda t, _: t.mT),
    "expanded": (lambda s: (1, *s[1:]), lambda t, s: t.expand(s)),
}
# In float32 beside tokens in half precision, as under autocast.
PARAMETERS = ("A", "D", "bias")

# The same examples in every run: what passed yesterday passes today.
drawn = settings(max_examples=20, deadline=None, derandomize=True, database=None)


class Case(NamedTuple):
    """What a scan is made of."""

    sizes: tuple[int, int, int, int, int] = (2, 2, 7, 3, 5)  # (K, B, L, D, N)
    gated: bool = True
    reverse: tuple[bool, ...] = (False, True)
    layout: str = "plain"
    scale: float = 1.0  # of signal and step sizes
    seed: int = 0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the scan's tensors, by their names."""
        k, batch, length, dim, n = self.sizes
        tokens, states = (k, batch, length, dim), (k, batch, length, n)
        found = {
            "u": tokens, "delta": tokens, "A": (k, dim, n), "B": states, "C": states,
            "D": (k, dim), "bias": (k, dim), "z": tokens[1:],
        }  # fmt: skip
        return found if self.gated else {name: s for name, s in found.items() if name != "z"}


def lengths() -> st.SearchStrategy[int]:
    """Short ones, and those around the chunks of 64 tokens."""
    return st.one_of(
        st.sampled_from([1, 63, 64, 65, 130]), st.integers(0, 20).map(lambda i: 2 * i + 1)
    )


@st.composite
def cases(draw: st.DrawFn, directions: tuple[int, ...] = (1, 2)) -> Case:
    k = draw(st.sampled_from(directions))
    dim, n = draw(st.sampled_from([1, 3, 16, 24])), draw(st.sampled_from([1, 8, 16, 20, 64]))
    return Case(
        (k, draw(st.integers(1, 3)), draw(lengths()), dim, n),
        gated=draw(st.booleans()),
        reverse=tuple(draw(st.booleans()) for _ in range(k)),
        scale=draw(st.sampled_from([0.1, 1.0, 4.0])),
        seed=draw(st.integers(0, 999)),
    )


def stored_tensors(case: Case, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random ones, rounded to the dtype."""
    generator, found = torch.Generator().manual_seed(case.seed), {}
    for name, shape in case.shapes.items():
        t = torch.randn(LAYOUTS[case.layout][0](shape), generator=generator, dtype=torch.float64)
        t = -t.exp() if name == "A" else t * (case.scale if name in ("u", "delta") else 1)
        exact = torch.promote_types(dtype, torch.float32)
        found[name] = t.to(exact if name in PARAMETERS else dtype)
    return found


def scan_of(case: Case, stored: dict[str, Tensor]) -> Scan:
    view = LAYOUTS[case.layout][1]
    return Scan(**{"z": None, **{name: view(t, case.shapes[name]) for name, t in stored.items()}})


def random_scan(case: Case, dtype: torch.dtype = torch.float32) -> Scan:
    return scan_of(case, stored_tensors(case, dtype))


def train(case: Case, backend: str, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The output, and the gradients of what is stored."""
    stored = {name: t.detach().clone().requires_grad_() for name, t in stored.items()}
    out = selective_scan(scan_of(case, stored), case.reverse, backend)
    generator = torch.Generator().manual_seed(case.seed + 1)
    slope = torch.randn(out.shape, generator=generator).bfloat16()  # the same in every precision
    out.backward(slope.to(out.dtype))
    return {"out": out.detach(), **{name: t.grad for name, t in stored.items()}}


def judge(case: Case, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """As `train`, by the reference in float64."""
    return train(case, "reference", {name: t.double() for name, t in stored.items()})


def assert_near(
    found: dict[str, Tensor], exact: dict[str, Tensor], rtol: float, atol: dict[str, float]
) -> None:
    """atol: by name, in units of the largest entry; "" for those not named."""
    assert found.keys() == exact.keys()
    for name, expected in exact.items():
        unit = expected.abs().max().item()
        torch.testing.assert_close(
            found[name].double(),
            expected,
            rtol=rtol,
            atol=atol.get(name, atol[""]) * unit,
            msg=lambda text, name=name: f"{name}: {text}",
        )


# Gradients of parameters are sums over all tokens, in which much cancels.
ROUNDED = {"": 5e-6, **dict.fromkeys(PARAMETERS, 1e-4)}


@pytest.mark.parametrize("layout", LAYOUTS)
@drawn
@given(case=cases())
def test_backends_agree_and_so_do_their_gradients(layout: str, case: Case) -> None:
    case = case._replace(layout=layout)
    stored = stored_tensors(case)
    exact = judge(case, stored)
    for backend in BACKENDS:
        assert_near(train(case, backend, stored), exact, 0.0, ROUNDED)


@pytest.mark.parametrize("layout", LAYOUTS)
@drawn
@given(case=cases())
def test_half_precision_costs_one_rounding(layout: str, case: Case) -> None:
    case = case._replace(layout=layout)
    stored = stored_tensors(case, torch.bfloat16)
    exact = judge(case, stored)
    # Autograd adds up the gradients of what is expanded, and rounds once more.
    atol = {**ROUNDED, "": 2**-8} if layout == "expanded" else ROUNDED
    for backend in BACKENDS:
        found = train(case, backend, stored)
        assert all(t.dtype == stored.get(name, stored["u"]).dtype for name, t in found.items())
        assert_near(found, exact, 2**-8, atol)


@drawn
@given(case=cases())
def test_float64_is_exact_in_plain_pytorch(case: Case) -> None:
    stored = {name: t.double() for name, t in stored_tensors(case).items()}
    exact = judge(case, stored)
    for backend in ("torch", "auto"):
        assert_near(train(case, backend, stored), exact, 0.0, {"": 1e-12})


@every_operator
def test_float64_parameters_beside_float32_tokens(backend: str) -> None:
    scan = random_scan(Case())
    expected = selective_scan(scan, (False, True), "reference")
    mixed = scan._replace(A=scan.A.double(), bias=scan.bias.double())
    torch.testing.assert_close(selective_scan(mixed, (False, True), backend), expected)


FLIPPED = {"u": 2, "delta": 2, "B": 2, "C": 2, "z": 1}


@every_backend
@drawn
@given(case=cases(directions=(1,)))
def test_reverse_is_a_flip_of_inputs_and_output(backend: str, case: Case) -> None:
    there = random_scan(case, torch.float32 if backend == "numba" else torch.float64)
    flipped = {n: t.flip(i) for n, i in FLIPPED.items() if (t := getattr(there, n)) is not None}
    back = selective_scan(there._replace(**flipped), (False,), backend).flip(1)
    found = selective_scan(there, (True,), backend)
    # Vectorised sums in PyTorch depend on where a token lies; the kernel's do not.
    atol = 0 if backend == "numba" else 1e-12 * back.abs().max().item()
    torch.testing.assert_close(found, back, rtol=0, atol=atol)


@every_operator
@drawn
@given(case=cases(directions=(2,)))
def test_directions_add_up_and_the_gate_multiplies(backend: str, case: Case) -> None:
    scan = random_scan(case)
    alone = [
        selective_scan(
            Scan(*(t[k : k + 1] for t in scan[:-1]), None), case.reverse[k : k + 1], backend
        )
        for k in range(2)
    ]
    expected = sum(alone) * (1 if scan.z is None else F.silu(scan.z))
    found = selective_scan(scan, case.reverse, backend)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * expected.abs().max().item())


def part(scan: Scan, tokens: slice) -> Scan:
    """The scan of some of its tokens."""
    cut = {name: getattr(scan, name)[:, :, tokens] for name in ("u", "delta", "B", "C")}
    return scan._replace(**cut, z=None if scan.z is None else scan.z[:, tokens])


@every_operator
@drawn
@given(case=cases(directions=(1,)), where=st.floats(0, 1))
def test_a_state_carries_all_there_is_to_know(backend: str, case: Case, where: float) -> None:
    """Steps are the scan; a scan of the first part and the rest from there on are the whole."""
    scan = random_scan(case)
    batch, length, dim, n = case.sizes[1:]
    exact = Scan(*(None if t is None else t.double() for t in scan))
    state, outputs, first = torch.zeros(batch, dim, n, dtype=torch.double), [], int(where * length)
    for t in range(length):
        y, state = resume(part(exact, slice(t, t + 1)), state)
        outputs.append(y)
    stepped, whole = torch.cat(outputs, 1), selective_scan(scan, (False,), backend)
    near = {"rtol": 0, "atol": 5e-6 * stepped.abs().max().item()}
    torch.testing.assert_close(whole.double(), stepped, **near)
    if first:
        ahead = selective_scan(part(scan, slice(first)), (False,), backend)
        torch.testing.assert_close(ahead.double(), stepped[:, :first], **near)
    at_once, last = resume(exact, torch.zeros(batch, dim, n, dtype=torch.double))
    torch.testing.assert_close(at_once, stepped)
    torch.testing.assert_close(last, state)


# The last one's rows are made a few at a time.
@pytest.mark.parametrize("sizes", [(2, 1, 1, 3, 1), (2, 3, 9, 3, 5), (2, 3, 130, 24, 64)])
@every_operator
def test_the_matrix_is_the_scan_without_its_gate(sizes: Any, backend: str) -> None:
    case = Case(sizes, gated=False)
    dtype = torch.float32 if backend == "numba" else torch.float64
    scan = random_scan(case, dtype)
    found = sum(
        torch.einsum("bdts,bsd->btd", matrix.matrix(scan, k, backwards), scan.u[k])
        + scan.D[k] * scan.u[k]
        for k, backwards in enumerate(case.reverse)
    )
    expected = selective_scan(scan, case.reverse, backend)
    atol = (5e-6 if backend == "numba" else 1e-12) * expected.abs().max().item()
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@drawn
@given(case=cases())
def test_attention_is_causal_and_its_rows_sum_to_one(case: Case) -> None:
    scan = random_scan(case)
    for k, backwards in enumerate(case.reverse):
        weights = matrix.attention(scan, k, backwards)
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]))
        hidden = weights.tril(-1) if backwards else weights.triu(1)
        assert not hidden.any()
        expected = matrix.matrix(scan, k, backwards).abs().mean(1)
        torch.testing.assert_close(weights, expected / expected.sum(-1, keepdim=True))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("reverse", [(False,), (True,), (False, True)])
@pytest.mark.parametrize("length", [1, 4, 66])
def test_gradcheck(length: int, reverse: tuple[bool, ...], gated: bool) -> None:
    dims = (1, 1) if length > 64 else (2, 3)
    scan = random_scan(Case((len(reverse), 2, length, *dims), gated, reverse), torch.float64)
    inputs = [t.requires_grad_() for t in scan if t is not None]

    def scanned(*tensors: Tensor) -> Tensor:
        return selective_scan(Scan(*tensors, *[None] * (8 - len(tensors))), reverse, "torch")

    assert torch.autograd.gradcheck(scanned, inputs, fast_mode=length > 64)


@every_operator
@pytest.mark.parametrize("gated", [False, True])
def test_operators_are_what_they_say(backend: str, gated: bool) -> None:
    case = Case((2, 2, 65, 3, 5), gated, layout="plain" if gated else "swapped")
    scan, how = random_scan(case), (list(case.reverse), backend)
    torch.library.opcheck(op._infer, (*scan, *how))
    out, total, saved = op._train(*scan, *how)
    torch.library.opcheck(op._gradient, (torch.randn_like(out), *scan, total, saved, *how))
    learning = [None if t is None else t.clone().requires_grad_() for t in scan]
    torch.library.opcheck(op._train, (*learning, *how))


class Small(nn.Module):
    """Convolution and scan as a mixer puts them together."""

    def __init__(self, backend: str, dim: int = 6, states: int = 5) -> None:
        super().__init__()
        self.backend, self.ways = backend, (False, True)
        self.weight = nn.Parameter(torch.randn(2, dim, 4))
        self.conv_bias, self.D, self.bias = (nn.Parameter(torch.randn(2, dim)) for _ in range(3))
        self.project = nn.Linear(dim, dim + 2 * states)
        self.A_log = nn.Parameter(torch.randn(2, dim, states))
        self.sizes = (dim, states, states)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        u = causal_conv(x, self.weight, self.conv_bias, self.ways, self.backend)
        delta, B, C = self.project(u).split(self.sizes, dim=-1)
        scan = Scan(u, delta, -self.A_log.exp(), B, C, self.D, self.bias, z)
        return selective_scan(scan, self.ways, self.backend)


@pytest.fixture
def compiler() -> Iterator[None]:
    """Nothing compiled before, nothing left after."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def assert_compiled_is_eager(model: Small, compiled: Any, length: int) -> None:
    tensors = [torch.randn(2, length, 6) for _ in range(3)]
    results = []
    for call in (model, compiled):
        model.zero_grad()
        x, z = (t.clone().requires_grad_() for t in tensors[:2])
        out = call(x, z)
        out.backward(tensors[2])
        with torch.no_grad():
            results.append([call(x, z), out, x.grad, z.grad, *[p.grad for p in model.parameters()]])
    for plain, found in zip(*results, strict=True):
        torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)


@every_operator
def test_compiles_whole(backend: str, compiler: None) -> None:
    model = Small(backend)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for length in (7, 65):
        assert_compiled_is_eager(model, compiled, length)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_compiles_to_machine_code(compiler: None) -> None:
    model = Small("auto")
    # Nothing here is worth asking the compiler which instructions it knows, which takes long.
    with torch._inductor.config.patch({"cpp.simdlen": 1, "compile_threads": 1}):
        assert_compiled_is_eager(model, torch.compile(model, fullgraph=True), 7)


@every_operator
def test_exports_with_any_batch_and_length(backend: str) -> None:
    model = Small(backend)
    sizes = {0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("length", max=4096)}
    example = (torch.randn(2, 9, 6), torch.randn(2, 9, 6))
    exported = torch.export.export(model, example, dynamic_shapes=(sizes, sizes)).module()
    for batch, length in ((1, 1), (3, 64), (5, 131)):
        x, z = torch.randn(2, batch, length, 6)
        torch.testing.assert_close(exported(x, z), model(x, z), rtol=1e-5, atol=1e-5)


@every_operator
def test_autocast_halves_what_goes_in_and_out_and_nothing_between(backend: str) -> None:
    model = Small(backend)
    x, z = torch.randn(2, 2, 70, 6)
    plain = model(x, z)
    with torch.autocast("cpu", torch.bfloat16):
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                half = model(x.bfloat16(), z.bfloat16())
            assert half.dtype == torch.bfloat16
            torch.testing.assert_close(
                half.float(), plain, rtol=0, atol=0.03 * plain.abs().max().item()
            )


@every_operator
def test_autocast_leaves_the_sums_of_float32_tokens_alone(backend: str) -> None:
    case = Case((2, 2, 65, 3, 5))
    stored = stored_tensors(case)
    expected = train(case, backend, stored)
    with torch.autocast("cpu", torch.bfloat16):
        found = train(case, backend, stored)
    for name, t in expected.items():
        assert torch.equal(found[name], t), name


@every_operator
def test_autocast_compiles(backend: str, compiler: None) -> None:
    model, (x, z) = Small(backend), torch.randn(2, 2, 7, 6)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        plain, found = model(x, z), compiled(x, z)
    assert plain.dtype == found.dtype
    torch.testing.assert_close(found, plain, rtol=0, atol=0.03 * plain.abs().max().item())


@every_operator
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30, -1e30])
def test_nothing_hides_what_is_not_finite(backend: str, value: float) -> None:
    case = Case((2, 2, 67, 17, 5))
    scan = random_scan(case)
    for name, t in scan._asdict().items():
        broken = t.clone()
        broken[(-1, *[t.shape[i] // 2 for i in range(1, t.ndim)])] = value
        given = scan._replace(**{name: broken})
        expected = selective_scan(given, case.reverse, "reference")
        assert (value == value) or expected.isnan().any()
        found = selective_scan(given, case.reverse, backend)
        # Infinite or not a number: states that only fill a register make the one the other.
        finite = expected.isfinite()
        assert torch.equal(found.isfinite(), finite), name
        torch.testing.assert_close(found[finite], expected[finite], rtol=1e-4, atol=1e-4)


@every_operator
def test_a_gradient_that_is_not_finite_shows(backend: str) -> None:
    case = Case((2, 2, 67, 17, 5))
    scan = Scan(*(t.requires_grad_() for t in random_scan(case)))
    out = selective_scan(scan, case.reverse, backend)
    slope = torch.ones_like(out)
    slope[1, 33, 16] = torch.nan
    out.backward(slope)
    assert all(t.grad.isnan().any() for t in scan)
    assert all(t.grad[:, 0].isfinite().all() for t in scan[3:5]), "it reached another image"


class Watch(TorchDispatchMode):
    """Remembers which of Vitrail's operators ran."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function.namespace == "vitrail":
            self.seen.append(function.name().removeprefix("vitrail::"))
        return function(*args, **(kwargs or {}))


@every_operator
def test_inference_keeps_nothing(backend: str) -> None:
    scan = random_scan(Case())
    learning = Scan(*(t.clone().requires_grad_() for t in scan))
    with Watch() as watch:
        selective_scan(scan, (False, True), backend)
        with torch.no_grad():
            selective_scan(learning, (False, True), backend)
        with torch.inference_mode():
            selective_scan(learning, (False, True), backend)
        assert set(watch.seen) == {"selective_scan"}
        selective_scan(learning, (False, True), backend)
        assert watch.seen[-1] == "selective_scan_train"
    _, total, saved = op._backend(backend, scan.u).forward(scan, (False, True), save=False)
    assert total.numel() == saved.numel() == 0


@every_operator
def test_only_what_learns_gets_a_gradient(backend: str) -> None:
    for name, t in random_scan(Case())._asdict().items():
        scan = random_scan(Case())._replace(**{name: t.clone().requires_grad_()})
        selective_scan(scan, (False, True), backend).sum().backward()
        assert [n for n, t in scan._asdict().items() if t.grad is not None] == [name]


@every_backend
def test_an_empty_batch_is_an_empty_output(backend: str) -> None:
    case = Case((2, 0, 7, 3, 5))
    found = train(case, backend, stored_tensors(case))
    assert found["out"].shape == (0, 7, 3)
    assert not found["A"].any()


@every_backend
@pytest.mark.parametrize("gated", [False, True])
def test_an_empty_sequence_is_an_empty_output(gated: bool, backend: str) -> None:
    case = Case((2, 2, 0, 3, 5))
    scan = random_scan(case)
    scan = scan if gated else scan._replace(z=None)
    out = selective_scan(scan, (False, True), backend)
    assert out.shape == (2, 0, 3)
    _, state = resume(scan.direction(0), torch.ones(2, 3, 5))
    assert torch.equal(state, torch.ones(2, 3, 5))
    with pytest.raises(ConfigError, match="a scan in 2 directions does not go on: give one"):
        resume(scan, state)
    assert matrix.attention(scan, 0, False).shape == (2, 0, 0)
    assert matrix.matrix(random_scan(Case((2, 0, 7, 3, 5))), 0, True).shape == (0, 3, 7, 7)


@pytest.mark.parametrize("name", Scan._fields)
def test_a_shape_that_does_not_fit_is_named(name: str) -> None:
    scan = random_scan(Case())
    wrong = scan._replace(**{name: getattr(scan, name)[..., :-1]})
    with pytest.raises(ConfigError, match=r"^[^\n]* does not fit [^\n]*it should be [^\n]*$"):
        selective_scan(wrong, (False, True))


@pytest.mark.parametrize("name", Scan._fields)
@pytest.mark.parametrize("like", [torch.int64, torch.complex64, "meta"])
def test_numbers_that_are_not_real_or_elsewhere_are_named(name: str, like: Any) -> None:
    scan = random_scan(Case())
    wrong = scan._replace(**{name: getattr(scan, name).to(like)})
    with pytest.raises(ConfigError, match="does not fit u of .*: give tensors of a floating"):
        selective_scan(wrong, (False, True))


def test_settings_that_cannot_run_are_one_line() -> None:
    scan = random_scan(Case())
    with pytest.raises(ConfigError, match=r"backend='nunba' is not one of .*Did you mean 'numba'"):
        selective_scan(scan, (False, True), "nunba")
    with pytest.raises(ConfigError, match=r"reverse=\[False\] has 1 entries for 2 directions"):
        selective_scan(scan, (False,))
    with pytest.raises(ConfigError, match="a Scan holds tensors: give torch.as_tensor"):
        selective_scan(scan.map(lambda t: t.numpy()), (False, True))  # type: ignore[arg-type, return-value]
    for wrong in (scan.map(lambda t: t[..., :0]), scan._replace(A=scan.A[..., :0])):
        with pytest.raises(ConfigError, match="no channels or no states: give at least one"):
            selective_scan(wrong, (False, True))
    with pytest.raises(ConfigError, match='backend="numba" has no float64: use "torch"'):
        selective_scan(random_scan(Case(), torch.float64), (False, True), "numba")


@every_operator
def test_the_same_bits_again_and_with_any_number_of_threads(backend: str) -> None:
    case = Case((2, 3, 66, 40, 5))
    stored = stored_tensors(case)
    first, threads = train(case, backend, stored), torch.get_num_threads()
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            again = train(case, backend, stored)
            assert not [name for name, t in first.items() if not torch.equal(again[name], t)]
    finally:
        torch.set_num_threads(threads)
