"""Checkpoints that several processes write and read together, each its shares of the tensors.

Files are safetensors, written by torch.distributed.checkpoint, and any number of processes can read
them. Names of tensors begin with "model/", "optimizer/" or "ema/".
"""

import contextlib
import errno
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from vitrail.manifest import FolderWriter, hashed_folder
from vitrail.methods import distributed

# torch.distributed.checkpoint is imported where it is needed, for that takes most of a second.
if TYPE_CHECKING:
    from torch.distributed.checkpoint.api import CheckpointException

Shape = tuple[tuple[int, ...], torch.dtype]
PATTERN = "shard-*.safetensors"  # the names that torch gives


def has_shards(folder: Path) -> bool:
    """Whether a checkpoint was written by several processes.

    Args:
        folder: of the checkpoint.

    Returns:
        True if it holds shards.

    Example:
        >>> has_shards(Path("nowhere"))
        False
    """
    return any(folder.glob(PATTERN))


def write_shards(folder: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Writes a checkpoint of which each process has shares. Every process calls it.

    The folder appears as a whole or not at all. All machines must see it.

    Args:
        folder: of the checkpoint.
        tensors: shared out, or the same in every process.
        values: plain values for state.json, those of the first process.

    Raises:
        OSError: one of the processes cannot write.

    Example:
        >>> from vitrail.train.checkpoint import save_checkpoint  # calls it
        >>> callable(write_shards)
        True
    """
    with contextlib.ExitStack() as stack:

        def begin() -> Any:
            first = distributed.rank() == 0
            return stack.enter_context(hashed_folder(folder)) if first else None

        writer = distributed.together(begin)
        path = distributed.gather_objects(writer and writer.path)[0]
        hashes = distributed.together(lambda: _write_own(path, tensors))
        all_hashes = distributed.gather_objects(hashes)

        def end() -> None:
            if writer is None:
                return
            for hashes in all_hashes:
                writer.hashes.update(hashes)
            for name in writer.hashes:
                if not (path / name).exists():
                    reason = "another machine wrote to a drive of its own"
                    raise OSError(errno.ENOENT, reason, str(folder / name))
            writer.write("state.json", json.dumps(values))
            stack.close()

        distributed.together(end)


def read_shards(folder: Path) -> dict[str, Tensor]:
    """Reads whole tensors in this process alone.

    Args:
        folder: of a checkpoint with shards.

    Returns:
        Tensors by name.

    Raises:
        SafetensorError: a file is damaged.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "step-00000001"
        >>> write_shards(folder, {"model/weight": torch.ones(2)}, {"step": 1})
        >>> read_shards(folder)
        {'model/weight': tensor([1., 1.])}
    """
    targets = {
        name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in shapes_of(folder).items()
    }
    _load(folder, targets, no_dist=True)
    return targets


def fill_from_shards(folder: Path, targets: dict[str, Tensor]) -> None:
    """Reads tensors into others, which may be shared out in another way. Every process calls it.

    Args:
        folder: of a checkpoint with shards.
        targets: tensors by name, changed in place.

    Raises:
        SafetensorError: a file is damaged.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "step-00000001"
        >>> write_shards(folder, {"model/weight": torch.ones(2)}, {"step": 1})
        >>> weight = torch.zeros(2)
        >>> fill_from_shards(folder, {"model/weight": weight})
        >>> weight
        tensor([1., 1.])
    """
    _load(folder, targets, no_dist=distributed.world_size() == 1)


def shapes_of(folder: Path) -> dict[str, Shape]:
    """Shapes and dtypes of the tensors of a checkpoint.

    Args:
        folder: of a checkpoint with shards.

    Returns:
        (shape, dtype) by name.

    Example:
        >>> import tempfile
        >>> shapes_of(Path(tempfile.mkdtemp()))
        {}
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    entries: Any = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {name: (tuple(e.size), e.properties.dtype) for name, e in entries.items()}


def shapes_in(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Shapes and dtypes of tensors.

    Args:
        tensors: by name.

    Returns:
        (shape, dtype) by name.

    Example:
        >>> shapes_in({"weight": torch.ones(2)})
        {'weight': ((2,), torch.float32)}
    """
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


def _write_own(folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Writes this process's shares; returns the sha256 of its files by name."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    alone = distributed.world_size() == 1
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    group = distributed.control_group()
    try:
        with _quiet():
            save(dict(tensors), storage_writer=writer, process_group=group, no_dist=alone)
    except CheckpointException as problem:
        raise _cause(problem) from None
    own = FolderWriter(folder)
    for file in folder.glob(f"shard-{distributed.rank() + 1:05d}-*.safetensors"):
        own.add(file.name)
    return own.hashes


def _load(folder: Path, targets: dict[str, Tensor], *, no_dist: bool) -> None:
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader, group = HuggingFaceStorageReader(str(folder)), distributed.control_group()
    try:
        with _quiet():
            load(dict(targets), storage_reader=reader, process_group=group, no_dist=no_dist)
    except CheckpointException as problem:
        raise _cause(problem) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as it is meant
        yield


def _cause(problem: "CheckpointException") -> BaseException:
    """What went wrong in the first process in which something did."""
    causes = [cause for cause, _trace in problem.failures.values()]
    kinds = (OSError, SafetensorError)
    other = RuntimeError(str(problem))  # torch's is no Exception
    return next((cause for cause in causes if isinstance(cause, kinds)), other)
