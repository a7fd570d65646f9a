"""TorchScript archives, such as OpenAI's CLIP files, read as zip files of tensors.

An archive holds code beside its weights. None of it runs, and no class that it names is imported:
its modules become dictionaries, whose tensors are views of the archive's bytes.
"""

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.errors import LoadError, describe_value
from vitrail.hub.rename import Tensors

MARK = "/constants.pkl"  # which only TorchScript writes
MAX_PICKLE = 2**22  # bytes of the pickle that says where tensors are
MAX_MODULES = 10_000
DTYPES = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "DoubleStorage": torch.float64,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip


def is_torchscript(file: Path) -> bool:
    """Whether a file is a TorchScript archive.

    Args:
        file: path of any file.

    Returns:
        True if `torch.jit.save` wrote it.

    Example:
        >>> is_torchscript(Path("pyproject.toml"))
        False
    """
    if not file.is_file() or not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith(MARK) for name in archive.namelist())


def read_torchscript(file: Path) -> Tensors:
    """Reads the parameters and buffers of a TorchScript archive.

    Args:
        file: path of the archive.

    Returns:
        Tensors by name, as the module's `state_dict()` has them.

    Raises:
        LoadError: the archive is damaged, or names something else than modules and tensors.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "model.pt"
        >>> torch.jit.save(torch.jit.script(nn.Linear(2, 1)), file)
        >>> {name: tuple(tensor.shape) for name, tensor in read_torchscript(file).items()}
        {'weight': (1, 2), 'bias': (1,)}
    """
    try:
        with zipfile.ZipFile(file) as archive:
            root = next(n for n in archive.namelist() if n.endswith(MARK)).removesuffix(MARK)
            data = _member(archive, f"{root}/data.pkl", MAX_PICKLE)
            _check_opcodes(data)
            module = _TensorUnpickler(data, archive, root).load()
        return _tensors(module)
    except LoadError as problem:
        raise LoadError(f"{file}: {problem}") from None
    except Exception as problem:  # a broken archive raises many kinds
        reason = f"{type(problem).__name__}: {problem}"
        raise LoadError(f"{file} is a damaged TorchScript archive ({reason}).") from None


class _Module:
    """What stands in for every class of an archive: it keeps its attributes."""

    attributes: Mapping[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = dict(state)


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(data))
        self.archive, self.root = archive, root
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """module, name → what stands in for the class or function; nothing is imported."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in DTYPES:
            return name
        if (module, name) not in _STAND_INS:
            raise LoadError(f"it names {describe_value(f'{module}.{name}')}, and tensors do not.")
        return _STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        """("storage", kind, key, device, numel) → all numbers of a member of the archive."""
        _storage, kind, key, *_rest = pid
        if key not in self.storages:
            data = _member(self.archive, f"{self.root}/data/{key}")
            numbers = torch.frombuffer(bytearray(data or b"\0" * 8), dtype=DTYPES[kind])
            self.storages[key] = numbers if data else numbers[:0]
        return self.storages[key]


def _member(archive: zipfile.ZipFile, name: str, limit: int | None = None) -> bytes:
    """A member that is stored as it is, so that it is no larger than the archive."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise LoadError(f"its member {describe_value(name)} is compressed, as no archive's is.")
    if limit is not None and entry.file_size > limit:
        raise LoadError(f"its member {describe_value(name)} is larger than {limit} bytes.")
    return archive.read(entry)


def _check_opcodes(data: bytes) -> None:
    """Refuses memo entries beyond the data: the unpickler would allocate all before them."""
    for opcode, argument, _position in pickletools.genops(data):
        if opcode.name.endswith("PUT") and int(argument or 0) > len(data):
            raise LoadError("its pickle is damaged.")


class _Rebuild:
    """A tensor of a storage. A slot is no attribute that a pickle could set."""

    __slots__ = ()

    def __call__(
        self, storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
    ) -> Tensor:
        tensor = storage.as_strided(size, stride, offset)  # raises where it leaves the storage
        if tensor.numel() > storage.numel():
            raise LoadError("a tensor of it repeats its numbers.")
        return tensor


class _First:
    """The value that is marked with a type."""

    __slots__ = ()

    def __call__(self, value: Any, *_: Any) -> Any:
        return value


_STAND_INS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(),
    ("collections", "OrderedDict"): OrderedDict,
    **{
        ("torch.jit._pickle", name): _First()
        for name in (
            "build_intlist", "build_doublelist", "build_boollist", "build_tensorlist",
            "restore_type_tag",
        )
    },
}  # fmt: skip


def _tensors(module: Any) -> Tensors:
    """The tensors of a module and of those inside it, in their order."""
    tensors: Tensors = {}
    pending, count = [("", module)], 0
    while pending:
        prefix, part = pending.pop()
        count += 1
        if not isinstance(part, _Module) or count > MAX_MODULES:  # such as one inside itself
            raise LoadError("it holds no module.")
        inner = []
        for name, value in part.attributes.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}{name}"] = value
            elif isinstance(value, _Module):
                inner.append((f"{prefix}{name}.", value))
        pending += reversed(inner)
    return tensors
