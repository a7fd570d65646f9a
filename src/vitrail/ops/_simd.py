"""Vectors of float32 for numba kernels: a numba type that LLVM keeps in a SIMD register.

numba's own vectorizer leaves the states of a scan in memory, at a third of the speed. Here a kernel
states what a register holds: `WIDTH` adjacent channels. Kernels take addresses (in bytes, as
int64) instead of arrays, so that one kernel serves any strides. States are tuples of vectors, as
long as the kernel has states; numba compiles one kernel per length.

Functions whose first argument is a builder write LLVM instructions; those decorated with
`kernel_function` are called in kernels. This module needs numba: only backends that do import it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cfunc, from_dtype, njit
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

from vitrail.ops._vectors import LOG2E, WIDE, WIDTH

# Sums may be regrouped and divisions approximated; NaN and infinity keep their meaning.
FAST = {"contract", "nsz", "arcp", "afn"}
FLAGS = tuple(FAST)
OPTIONS: dict[str, Any] = {"fastmath": FAST, "error_model": "numpy"}

_FLOAT, _INT32, _INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR, _LANES = ir.VectorType(_FLOAT, WIDTH), ir.VectorType(_INT32, WIDTH)
# exp2 on [-1/2, 1/2]: relative error 2.3e-7, but exact at 0, where states hardly decay and an error
# would add up over all tokens.
_EXP2 = (0.00133335392, 0.00966624543, 0.0555050038, 0.240223512, 0.693147123, 1.0)
# log1p(e) / e on [0, 1], even and odd powers by turns: minimax, relative error 4.8e-9.
_LOG1P = (
    0.0198514629, -0.0032440252, 0.106036551, -0.0569595359, 0.196759388, -0.153055921,
    0.333299637, -0.249541342, 1.0, -0.499999017,
)  # fmt: skip


class _VectorType(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"vector{WIDTH}f")


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


vector = _VectorType()
Builder = Any  # llvmlite.ir.IRBuilder
Value = Any  # llvmlite.ir.Value


def constant(value: float) -> Value:
    """A vector with one number in every lane."""
    return ir.Constant(_VECTOR, [float(np.float32(value))] * WIDTH)


def _pointer(b: Builder, address: Value, kind: Any, offset: int) -> Value:
    if offset:
        address = b.add(address, ir.Constant(_INT64, offset))
    return b.inttoptr(address, kind.as_pointer())


def read(b: Builder, address: Value, offset: int = 0, lanes: int = WIDTH) -> Value:
    """Loads a vector from memory."""
    value = b.load(_pointer(b, address, ir.VectorType(_FLOAT, lanes), offset))
    value.align = 4
    return value


def write(b: Builder, address: Value, value: Value, offset: int = 0) -> None:
    """Stores a vector in memory."""
    b.store(value, _pointer(b, address, value.type, offset)).align = 4


def read_scalar(b: Builder, address: Value, offset: int = 0) -> Value:
    """Loads one float from memory."""
    value = b.load(_pointer(b, address, _FLOAT, offset))
    value.align = 4
    return value


def spread(b: Builder, scalar: Value) -> Value:
    """One float in every lane."""
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(_INT32, 0))
    return b.shuffle_vector(first, undefined, ir.Constant(_LANES, [0] * WIDTH))


def _call(b: Builder, name: str, *values: Value) -> Value:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(values))
    full = f"llvm.{name}.v{WIDTH}f32"
    return b.call(cgutils.get_or_insert_function(b.module, kind, full), values)


def fused(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x * y + z, rounded once."""
    return _call(b, "fma", x, y, z)


def exp2(b: Builder, x: Value) -> Value:
    """2 ** x; results below the normal numbers are 0 or nearly 0, those above are infinite."""
    if not WIDE:  # the whole part is added to the exponent's bits; 128 there is infinity
        low, high = constant(-126.0), constant(128.0)
        x = b.select(b.fcmp_ordered("<", x, low), low, x)
        x = b.select(b.fcmp_ordered(">", x, high), high, x)
    whole = _call(b, "rint", x)
    rest = b.fsub(x, whole, flags=("contract",))
    power = constant(_EXP2[0])
    for c in _EXP2[1:]:
        power = fused(b, power, rest, constant(c))
    if not WIDE:
        shifted = b.shl(b.fptosi(whole, _LANES), ir.Constant(_LANES, [23] * WIDTH))
        return b.bitcast(b.add(b.bitcast(power, _LANES), shifted), _VECTOR)
    mask = ir.IntType(16)
    kind = ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR, _VECTOR, mask, _INT32])
    scale = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.mask.scalef.ps.512")
    rest_of = (ir.Constant(_VECTOR, ir.Undefined), ir.Constant(mask, -1), ir.Constant(_INT32, 4))
    return b.call(scale, [power, whole, *rest_of])


def _small_exp(b: Builder, x: Value) -> Value:
    """exp(-|x|)."""
    sign = ir.Constant(_LANES, [-(2**31)] * WIDTH)
    negative = b.bitcast(b.or_(b.bitcast(x, _LANES), sign), _VECTOR)
    return exp2(b, b.fmul(negative, constant(LOG2E)))


def softplus(b: Builder, x: Value, e: Value) -> Value:
    """log(1 + exp(x)) = max(x, 0) + log1p(e), with e = exp(-|x|)."""
    square, (even, odd) = b.fmul(e, e), map(constant, _LOG1P[:2])
    for i in range(2, len(_LOG1P), 2):  # two short chains have less latency than a long one
        even = fused(b, even, square, constant(_LOG1P[i]))
        odd = fused(b, odd, square, constant(_LOG1P[i + 1]))
    positive = b.select(b.fcmp_ordered(">", x, constant(0.0)), x, constant(0.0))
    return fused(b, fused(b, odd, e, even), e, positive)


def sigmoid(b: Builder, x: Value, e: Value) -> Value:
    """1 / (1 + exp(-x)), with e = exp(-|x|)."""
    r = b.fdiv(constant(1.0), b.fadd(e, constant(1.0)), flags=FLAGS)
    return b.select(b.fcmp_ordered(">", x, constant(0.0)), r, b.fmul(e, r))


def _fold(b: Builder, x: Value, y: Value, lanes: Sequence[int], others: int) -> Value:
    """Of x and y, concatenated: `lanes` plus the lanes that are `others` further on."""
    kind = ir.VectorType(_INT32, len(lanes))
    masks = (ir.Constant(kind, [lane + plus for lane in lanes]) for plus in (0, others))
    return b.fadd(*(b.shuffle_vector(x, y, mask) for mask in masks))


def lane_sums(b: Builder, vectors: list[Value]) -> tuple[Value, Value]:
    """Eight vectors → the sum over the lanes of each, as two vectors of four.

    The first folds stay within 128 bits, where processors compute several at a time.
    """
    quads, halves = range(0, WIDTH, 4), range(0, 2 * WIDTH, 8)
    singles = [lane for q in quads for lane in (q, WIDTH + q, q + 1, WIDTH + q + 1)]
    pairs = [lane for q in quads for lane in (q, q + 1, WIDTH + q, WIDTH + q + 1)]
    even = [lane for q in halves for lane in range(q, q + 4)]
    for lanes, others in ((singles, 2), (pairs, 2), (even, 4)):
        of_two = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [_fold(b, x, y, lanes, others) for x, y in of_two]
    sums = vectors[0]
    if WIDE:
        sums = _fold(b, sums, sums, even[: WIDTH // 2], 4)
    first, second = (ir.Constant(ir.VectorType(_INT32, 4), list(range(i, i + 4))) for i in (0, 4))
    return b.shuffle_vector(sums, sums, first), b.shuffle_vector(sums, sums, second)


def pack(b: Builder, kind: Any, values: list[Value]) -> Value:
    """An LLVM tuple of values."""
    packed = ir.Constant(kind, ir.Undefined)
    for i, value in enumerate(values):
        packed = b.insert_value(packed, value, i)
    return packed


def pack_states(b: Builder, values: list[Value]) -> Value:
    """A tuple of vectors."""
    return pack(b, ir.ArrayType(_VECTOR, len(values)), values)


def unpack(b: Builder, packed: Value) -> list[Value]:
    """The values of an LLVM tuple."""
    return [b.extract_value(packed, i) for i in range(packed.type.count)]


def kernel_function(result: Callable[..., Any]) -> Callable[[Callable[..., Value]], Any]:
    """Decorator that makes `generate(builder, *values) -> value` a function for numba kernels.

    `result` maps the types of the arguments to the type of the result, "none" for no result.
    """

    def decorate(generate: Callable[..., Value]) -> Any:
        names = list(generate.__code__.co_varnames[1 : generate.__code__.co_argcount])

        def typed(*arguments: Any) -> Any:
            result_type = result(*arguments)

            def emit(context: Any, builder: Builder, _signature: Any, values: Any) -> Value:
                value = generate(builder, *values)
                return context.get_dummy_value() if result_type == types.none else value

            return result_type(*arguments), emit

        # numba reads the names of the arguments from the function, so it is written with them.
        namespace = {"typed": typed}
        joined = ", ".join(names)
        exec(f"def {generate.__name__}(_context, {joined}): return typed({joined})", namespace)
        return intrinsic(namespace[generate.__name__])

    return decorate


def _vector(*_types: Any) -> Any:
    return vector


def _nothing(*_types: Any) -> Any:
    return types.none


@kernel_function(_nothing)
def fetch(b: Builder, address: Value) -> None:
    """Prefetches the memory at an address, which need not be valid."""
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, *[_INT32] * 3])
    function = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
    options = (
        ir.Constant(_INT32, option) for option in (0, 3, 1)
    )  # for reading, high locality, data
    b.call(function, [b.inttoptr(address, pointer), *options])


@kernel_function(_vector)
def load(b: Builder, address: Value) -> Value:
    """The vector at an address."""
    return read(b, address)


@kernel_function(_nothing)
def store(b: Builder, address: Value, value: Value) -> None:
    """Stores a vector at an address."""
    write(b, address, value)


@kernel_function(_vector)
def splat(b: Builder, value: Value) -> Value:
    """A vector with one float in every lane."""
    return spread(b, value)


@kernel_function(_vector)
def add(b: Builder, x: Value, y: Value) -> Value:
    """x + y."""
    return b.fadd(x, y)


@kernel_function(_vector)
def mul(b: Builder, x: Value, y: Value) -> Value:
    """x * y."""
    return b.fmul(x, y)


@kernel_function(_vector)
def fma(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x * y + z."""
    return fused(b, x, y, z)


@kernel_function(_vector)
def vector_sigmoid(b: Builder, x: Value) -> Value:
    """1 / (1 + exp(-x))."""
    return sigmoid(b, x, _small_exp(b, x))


@kernel_function(_vector)
def vector_softplus(b: Builder, x: Value) -> Value:
    """log(1 + exp(x))."""
    return softplus(b, x, _small_exp(b, x))


@kernel_function(lambda _x: types.UniTuple(vector, 2))
def softplus_sigmoid(b: Builder, x: Value) -> Value:
    """softplus and its derivative, the sigmoid, from one exponential."""
    e = _small_exp(b, x)
    return pack_states(b, [softplus(b, x, e), sigmoid(b, x, e)])


@kernel_function(lambda like, _address, _stride: types.UniTuple(vector, len(like)))
def load_states(b: Builder, like: Value, address: Value, stride: Value) -> Value:
    """Loads as many vectors as the tuple `like` has, `stride` bytes apart."""
    values = []
    for _ in range(like.type.count):
        values.append(read(b, address))
        address = b.add(address, stride)
    return pack_states(b, values)


@kernel_function(_nothing)
def store_states(b: Builder, address: Value, stride: Value, states: Value) -> None:
    """Stores the vectors of a tuple `stride` bytes apart."""
    for value in unpack(b, states):
        write(b, address, value)
        address = b.add(address, stride)


def jit(function: Callable[..., Any]) -> Any:
    """Decorator of functions that kernels call."""
    return njit(**OPTIONS)(function)


def entry(rows: np.dtype, call: np.dtype) -> Callable[[Callable[..., None]], Any]:
    """Decorator of a kernel(start, stop, rows, count, call, memory), see `_machine_code`.

    `rows` and `call` are the types of the records that these two arguments point to.
    """
    tasks, addresses = [types.int64] * 2, [types.CPointer(from_dtype(t)) for t in (rows, call)]
    signature = types.void(*tasks, addresses[0], types.int64, addresses[1], types.int64)
    return cfunc(signature, **OPTIONS)
