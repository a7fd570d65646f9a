"""Kernels are kept as files, and compute without them, too."""

import errno
import functools
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vitrail.ops import _machine_code, _vectors
from vitrail.ops.causal_conv import _numba
from vitrail.ops.causal_conv.reference import causal_conv_reference


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where kernels are kept; this process forgets those that it has loaded."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(_machine_code, "_load", _machine_code._load_once.__wrapped__)
    uncached = _machine_code.machine_code.__wrapped__
    monkeypatch.setattr(_numba, "_code", functools.partial(uncached, *_numba._code.args))
    _machine_code._warn_of_compiling.cache_clear()
    return tmp_path / "vitrail"


def compute() -> None:
    x, weight, bias = torch.randn(2, 9, 5), torch.randn(2, 5, 4), torch.randn(2, 5)
    out = _numba.forward(x, weight, bias, [False, True])
    torch.testing.assert_close(out, causal_conv_reference(x, weight, bias, [False, True]))


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_is_read_and_compiled_anew_if_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute()
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(_machine_code, "_whole", refuse)
        compute()
    file.write_bytes(whole[:-100])
    compute()
    assert len(file.read_bytes()) == len(whole)


def test_a_full_disk_is_warned_of_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_machine_code, "atomic_write", refuse)
    with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR to a directory"):
        compute()
    compute()  # another warning would be an error


def test_an_older_llvmlite_runs_what_numba_compiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llvm = vars(_machine_code.llvm)
    older = {name: llvm[name] for name in llvm if name != "create_pass_builder"}
    monkeypatch.setattr(_machine_code, "llvm", SimpleNamespace(**older))
    compute()
    assert not folder.exists()


def test_kernels_for_another_processor_have_vectors_that_any_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With sixteen lanes LLVM ended the process where NUMBA_CPU_NAME=generic was set."""
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: {"avx512f": True})
    vectors = str(_vectors.__file__)
    assert runpy.run_path(vectors)["WIDTH"] == 16
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "generic")
            assert runpy.run_path(vectors)["WIDTH"] == 8


def test_variables_of_numba_that_it_refuses_are_a_failing_import(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_module: str) -> None:
        raise ValueError("Number of threads specified must be > 0")

    monkeypatch.setattr(_machine_code.importlib, "import_module", fail)
    with pytest.raises(ImportError, match="must be > 0: correct its variables, NUMBA_..."):
        compute()


def test_a_process_that_was_slower_than_another_does_not_warn(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after_another(path: Path, code: bytes) -> None:
        path.write_bytes(code)
        raise FileNotFoundError("the other process has renamed it")

    monkeypatch.setattr(_machine_code, "atomic_write", after_another)
    compute()  # a warning would be an error
