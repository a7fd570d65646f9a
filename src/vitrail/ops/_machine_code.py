"""Kernels as machine code in files, so that a process that computes need not start the compiler.

To import numba and to prepare it takes half a second of processor time. It is spent by the first
process only: the code that it compiles is whole, needs no other library, and is read again by
llvmlite, in milliseconds.
"""

import array
import contextlib
import ctypes
import functools
import hashlib
import importlib
import importlib.util
import os
import sys
import threading
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from vitrail.files import atomic_write
from vitrail.ops._vectors import WIDTH

# void kernel(start, stop, rows, count, call, memory): tasks, and addresses of records and floats.
SIGNATURE = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)
Kernel = Callable[[int, int], None]  # of the first task and the one after the last
_lock = threading.RLock()
_engines: list[Any] = []  # own the code that is running


@functools.cache
def machine_code(
    module: str, name: str, *options: int
) -> Callable[["array.array[int]", int, "array.array[int]", int], Kernel]:
    """A kernel for `run_tasks`, compiled if no process did so before.

    Args:
        module: name of the module of kernels, which is imported to compile only.
        name: function of the module that builds the kernel as a `numba.cfunc`.
        options: arguments of that function.

    Returns:
        Function of `rows`, records, of their number, of `call`, one record, and of `floats`, the
        size of the kernel's memory, which is zeroed for each run of tasks. It returns the
        kernel(start, stop) of these records, which runs without Python's global lock.
    """
    code = _load(module, name, *options)

    def with_records(
        rows: "array.array[int]", count: int, call: "array.array[int]", floats: int
    ) -> Kernel:
        first, record = rows.buffer_info()[0], call.buffer_info()[0]

        def kernel(start: int, stop: int, _records: Any = (rows, call)) -> None:
            if floats:
                memory = np.zeros(floats + 16, np.float32)
                scratch = (memory.ctypes.data + 63) & -64
            else:
                scratch = 0
            code(start, stop, first, count, record, scratch)

        return kernel

    return with_records


def _load(module: str, name: str, *options: int) -> Callable[..., None]:
    with _lock:  # of two threads, one would compile in vain
        return _load_once(module, name, *options)


@functools.cache
def _load_once(module: str, name: str, *options: int) -> Callable[..., None]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    file = "-".join([module, name, *map(str, options), _fingerprint(module)]) + ".o"
    for folder in _folders():
        with contextlib.suppress(OSError):
            digest, code = _split((folder / file).read_bytes())
            if digest == hashlib.sha256(code).digest():
                return _start(code, _symbol(name, *options))
    try:
        kernels = importlib.import_module(module)
    except ValueError as problem:  # of numba's own variables, which it reads when imported
        raise ImportError(f"{problem}: correct its variables, NUMBA_...") from problem
    built = getattr(kernels, name)(*options)
    if not hasattr(llvm, "create_pass_builder"):  # llvmlite before 0.44: numba's code, not kept
        _engines.append(built)
        return SIGNATURE(built.address)
    code = _whole(built.inspect_llvm(), built.native_name, _symbol(name, *options))
    for folder in _folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(folder / file, hashlib.sha256(code).digest() + code)
            break
        if (folder / file).is_file():
            break  # another process was faster
    else:
        _warn_of_compiling()
    return _start(code, _symbol(name, *options))


def _split(content: bytes) -> tuple[bytes, bytes]:
    """A file → the digest at its start, and the code, which LLVM would not survive if damaged."""
    size = hashlib.sha256().digest_size
    return content[:size], content[size:]


def _symbol(name: str, *options: int) -> str:
    return "_".join(["vitrail", name, *map(str, options)])


def _machine() -> Any:
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="default",
        codemodel="jitdefault",
        jit=True,
    )


def _whole(assembly: str, entry: str, symbol: str) -> bytes:
    """Machine code of one function that calls no other, from what numba compiled.

    numba's function could report errors to Python. These kernels raise none, which the optimizer
    sees when nothing but the entry can be called from outside; with that, what they need of Python
    and numba is gone.
    """
    machine, module = _machine(), llvm.parse_assembly(assembly)
    for function in module.functions:
        if function.name == entry:
            function.name = symbol
        elif not function.is_declaration:
            function.linkage = "internal"
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    names = [function.name for function in module.functions if function.is_declaration]
    needed = [name for name in names if not name.startswith("llvm.")]
    assert not needed, f"{symbol} calls {needed}"
    return bytes(machine.emit_object(module))


def _start(code: bytes, symbol: str) -> Callable[..., None]:
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return SIGNATURE(engine.get_function_address(symbol))


def _fingerprint(module: str) -> str:
    """What machine code depends on: the sources of the kernels, the compiler and the processor."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for source in [*sorted(package.glob("_*.py")), *sorted(_source(module).parent.glob("*.py"))]:
        digest.update(source.read_bytes())
    target = (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    versions = (version("numba"), version("llvmlite"), sys.platform)
    digest.update(repr((target, versions, WIDTH)).encode())
    return digest.hexdigest()[:16]


def _source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    return Path(str(spec and spec.origin))


def _folders() -> list[Path]:
    """Where code is kept: as numba's own cache, beside the package or in the user's directory."""
    if directory := os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(directory) / "vitrail"]
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    folders = [Path(__file__).parent / "__pycache__"]
    with contextlib.suppress(RuntimeError):  # there may be no home
        folders.append((Path(cache) if cache else Path.home() / ".cache") / "vitrail")
    return folders


@functools.cache
def _warn_of_compiling() -> None:
    """Warns once, not once per kernel."""
    warnings.warn(
        "there is no directory to keep compiled kernels in, so every process compiles them anew, "
        "which takes seconds: set NUMBA_CACHE_DIR to a directory that can be written.",
        RuntimeWarning,
        stacklevel=2,
    )
