"""Whether an operation failed because memory was too small, and what frees some."""

import contextlib
import ctypes
import gc

import torch

# What torch's allocator of the CPU, C++ and Python's threads say, in errors of no class of theirs.
SIGNS = ("DefaultCPUAllocator", "bad_alloc", "can't start new thread")
# All that oneDNN says where it has no memory for code or buffers. Of an operation that it does not
# support it says more: "could not create a primitive descriptor for the matmul primitive".
ONEDNN_SIGNS = {
    "could not create a primitive", "could not create a memory", "could not create a memory object",
}  # fmt: skip
SPARE = 2**30  # bytes; oneDNN asks for less at once


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether memory was too small, of the GPU or of the machine.

    oneDNN gives the same reason where the system forbids it to make code. So what it says counts
    only if memory is in fact short at this moment: ask while the tensors that fill it are there.

    Args:
        problem: what was raised.

    Returns:
        True if it was.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
        (True, False)
    """
    text = str(problem)
    if isinstance(problem, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(sign in text for sign in SIGNS) or (text in ONEDNN_SIGNS and not _can_allocate())


def free_memory() -> None:
    """Frees what nothing uses any more, after an operation that did not fit.

    Errors and frames hold tensors in cycles, which the garbage collector frees. The C library then
    keeps their memory for later tensors. What oneDNN needs for its code is none of them, so the
    memory goes back to the system.

    Example:
        >>> free_memory()
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # not the C library of GNU
        ctypes.CDLL(None).malloc_trim(0)


def _can_allocate() -> bool:
    """Whether the system still promises memory to this process. None of it is used."""
    try:
        torch.UntypedStorage(SPARE)
    except (RuntimeError, MemoryError):
        return False
    return True
