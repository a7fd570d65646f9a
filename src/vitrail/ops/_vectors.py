"""Vectors of float32 as the kernels lay them out, without the compiler."""

import llvmlite.binding as llvm
import numpy as np

WIDE = bool(llvm.get_host_cpu_features().get("avx512f"))
WIDTH = 16 if WIDE else 8
BYTES = 4 * WIDTH
LOG2E = float(np.float32(np.log2(np.e)))


def record(fields: str) -> np.dtype:
    """A record type of int64s, addresses and strides in bytes, from the names of its fields."""
    return np.dtype([(name, np.int64) for name in fields.split()])


def records(kind: np.dtype, rows: list[list[int]]) -> np.ndarray:
    """An array of records from rows of equal length; fields that the rows lack are 0."""
    table = np.zeros((len(rows), kind.itemsize // 8), np.int64)
    table[:, : len(rows[0])] = rows
    return table.view(kind).ravel()
