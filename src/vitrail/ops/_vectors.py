"""Vectors of float32 as the kernels lay them out, without the compiler."""

import array
import os

import llvmlite.binding as llvm
import numpy as np

# A processor that numba is told to compile for may have less than this one.
OTHER = any(os.environ.get(name) for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"))
WIDE = not OTHER and bool(llvm.get_host_cpu_features().get("avx512f"))
WIDTH = 16 if WIDE else 8
BYTES = 4 * WIDTH
LOG2E = float(np.float32(np.log2(np.e)))


def record(fields: str) -> np.dtype:
    """A record type of int64s, addresses and strides in bytes, from the names of its fields."""
    return np.dtype([(name, np.int64) for name in fields.split()])


def records(kind: np.dtype, rows: list[list[int]]) -> "array.array[int]":
    """Records from rows, one after the other; fields that the rows lack are 0.

    Python's own array tells its address in a tenth of the time that NumPy's takes.
    """
    fields = kind.itemsize // 8
    return array.array("q", [n for row in rows for n in row + [0] * (fields - len(row))])
