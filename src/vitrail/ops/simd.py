"""Vectors of float32 for numba kernels: a numba type that LLVM keeps in a SIMD register.

numba's own vectoriser leaves a scan's states in memory, at a third of the speed. Here a kernel
says what a register holds: `WIDTH` neighbouring channels. Kernels take addresses (in bytes, as
int64), not arrays, so that one kernel serves any strides, and states come as tuples of vectors
whose length is the kernel's number of states: numba compiles one kernel for each length.

Needs numba, so it is imported only by backends that do.
"""

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

WIDE = bool(llvm.get_host_cpu_features().get("avx512f"))
WIDTH = 16 if WIDE else 8
BYTES = 4 * WIDTH
# Sums may be regrouped and divisions approximated; NaN and infinity keep their meaning.
FAST = {"contract", "nsz", "arcp", "afn"}
FLAGS = tuple(FAST)
LOG2E = float(np.float32(np.log2(np.e)))

_FLOAT, _INT32, _INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR, _LANES = ir.VectorType(_FLOAT, WIDTH), ir.VectorType(_INT32, WIDTH)
# exp2 on [-1/2, 1/2]: relative error 2.3e-7, but none at 0. States that hardly decay would add up
# an error there over all tokens.
_EXP2 = (0.00133335392, 0.00966624543, 0.0555050038, 0.240223512, 0.693147123, 1.0)
# log1p(e) / e on [0, 1], in turn for even and odd powers: minimax, relative error 4.8e-9.
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
Builder = Any  # of LLVM's instructions
Value = Any  # of LLVM


def record(fields: str) -> np.dtype:
    """Of int64s: addresses, and distances in bytes. Kernels would else take too many arguments."""
    return np.dtype([(name, np.int64) for name in fields.split()])


def records(kind: np.dtype, rows: list[list[int]]) -> np.ndarray:
    """Rows of a kind of `record`, all of one length; fields that they lack are 0."""
    found = np.zeros((len(rows), kind.itemsize // 8), np.int64)
    found[:, : len(rows[0])] = rows
    return found.view(kind).ravel()


def constant(value: float) -> Value:
    """A vector of one number."""
    return ir.Constant(_VECTOR, [float(np.float32(value))] * WIDTH)


def _pointer(b: Builder, address: Value, kind: Any, offset: int) -> Value:
    if offset:
        address = b.add(address, ir.Constant(_INT64, offset))
    return b.inttoptr(address, kind.as_pointer())


def read(b: Builder, address: Value, offset: int = 0, lanes: int = WIDTH) -> Value:
    """A vector from memory."""
    value = b.load(_pointer(b, address, ir.VectorType(_FLOAT, lanes), offset))
    value.align = 4
    return value


def write(b: Builder, address: Value, value: Value, offset: int = 0) -> None:
    """A vector to memory."""
    b.store(value, _pointer(b, address, value.type, offset)).align = 4


def read_scalar(b: Builder, address: Value, offset: int = 0) -> Value:
    """One float from memory."""
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
    """2 ** x; tiny results are 0 or near it."""
    if not WIDE:  # whole powers go into the exponent's bits, which must not overflow
        low, high = constant(-126.0), constant(127.0)
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
    for i in range(2, len(_LOG1P), 2):  # two short chains: a long one would be waited for
        even = fused(b, even, square, constant(_LOG1P[i]))
        odd = fused(b, odd, square, constant(_LOG1P[i + 1]))
    positive = b.select(b.fcmp_ordered(">", x, constant(0.0)), x, constant(0.0))
    return fused(b, fused(b, odd, e, even), e, positive)


def sigmoid(b: Builder, x: Value, e: Value) -> Value:
    """1 / (1 + exp(-x)), with e = exp(-|x|)."""
    r = b.fdiv(constant(1.0), b.fadd(e, constant(1.0)), flags=FLAGS)
    return b.select(b.fcmp_ordered(">", x, constant(0.0)), r, b.fmul(e, r))


def _fold(b: Builder, x: Value, y: Value, lanes: Sequence[int], others: int) -> Value:
    """Of x and y, one behind the other, `lanes`, plus the lanes that are `others` further on."""
    there = ir.VectorType(_INT32, len(lanes))
    masks = (ir.Constant(there, [lane + plus for lane in lanes]) for plus in (0, others))
    return b.fadd(*(b.shuffle_vector(x, y, mask) for mask in masks))


def lane_sums(b: Builder, vectors: list[Value]) -> tuple[Value, Value]:
    """Eight vectors → the sums over the lanes of each, four and four.

    The first folds stay within 128 bits, where processors do several at a time.
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
    """LLVM's tuple of values."""
    packed = ir.Constant(kind, ir.Undefined)
    for i, value in enumerate(values):
        packed = b.insert_value(packed, value, i)
    return packed


def pack_states(b: Builder, values: list[Value]) -> Value:
    """A tuple of vectors."""
    return pack(b, ir.ArrayType(_VECTOR, len(values)), values)


def unpack(b: Builder, packed: Value) -> list[Value]:
    """The values of LLVM's tuple."""
    return [b.extract_value(packed, i) for i in range(packed.type.count)]


def kernel_function(result: Callable[..., Any]) -> Callable[[Callable[..., Value]], Any]:
    """Makes `generate(builder, *values) -> value` a function for numba kernels.

    result: the type of what it gives, from the types of its arguments; "none" for nothing.
    """

    def decorate(generate: Callable[..., Value]) -> Any:
        names = list(generate.__code__.co_varnames[1 : generate.__code__.co_argcount])

        def typed(*arguments: Any) -> Any:
            given = result(*arguments)

            def emit(context: Any, builder: Builder, _signature: Any, values: Any) -> Value:
                value = generate(builder, *values)
                return context.get_dummy_value() if given == types.none else value

            return given(*arguments), emit

        # numba reads the argument names off the function, so it must be one with those names.
        space = {"typed": typed}
        listed = ", ".join(names)
        exec(f"def {generate.__name__}(_context, {listed}): return typed({listed})", space)
        return intrinsic(space[generate.__name__])

    return decorate


def _vector(*_types: Any) -> Any:
    return vector


def _nothing(*_types: Any) -> Any:
    return types.none


@kernel_function(_nothing)
def fetch(b: Builder, address: Value) -> None:
    """Asks for the memory at an address before it is needed. Any address will do."""
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, *[_INT32] * 3])
    function = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
    options = (ir.Constant(_INT32, option) for option in (0, 3, 1))  # to read, and keep: data
    b.call(function, [b.inttoptr(address, pointer), *options])


@kernel_function(_vector)
def load(b: Builder, address: Value) -> Value:
    """The vector at an address."""
    return read(b, address)


@kernel_function(_nothing)
def store(b: Builder, address: Value, value: Value) -> None:
    """Puts a vector at an address."""
    write(b, address, value)


@kernel_function(lambda _address: types.float32)
def load_scalar(b: Builder, address: Value) -> Value:
    """The float at an address."""
    return read_scalar(b, address)


@kernel_function(_nothing)
def store_scalar(b: Builder, address: Value, value: Value) -> None:
    """Puts a float at an address."""
    write(b, address, value)


@kernel_function(_vector)
def splat(b: Builder, value: Value) -> Value:
    """A float in every lane."""
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
    """softplus and its derivative, from one exponential."""
    e = _small_exp(b, x)
    return pack_states(b, [softplus(b, x, e), sigmoid(b, x, e)])


@kernel_function(lambda like, _address, _stride: types.UniTuple(vector, len(like)))
def load_states(b: Builder, like: Value, address: Value, stride: Value) -> Value:
    """A vector for each entry of a tuple, `stride` bytes apart."""
    values = []
    for _ in range(like.type.count):
        values.append(read(b, address))
        address = b.add(address, stride)
    return pack_states(b, values)


@kernel_function(_nothing)
def store_states(b: Builder, address: Value, stride: Value, states: Value) -> None:
    """Puts a tuple's vectors `stride` bytes apart."""
    for value in unpack(b, states):
        write(b, address, value)
        address = b.add(address, stride)
