"""The bytes of a safetensors file, without a copy of the tensors."""

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def tensor_bytes(tensors: "Mapping[str, Tensor]") -> list[memoryview]:
    """What a safetensors file of tensors holds, in parts to be written one after the other.

    `safetensors.torch.save` copies all tensors twice, which takes longer than to write them to a
    fast disk. Here only those are copied that are not contiguous or not in the memory of the CPU.

    Args:
        tensors: by name. They must not change until the parts are written.

    Returns:
        The header, and a view of the memory of each tensor.

    Example:
        >>> import safetensors.torch
        >>> import torch
        >>> tensors = {"weight": torch.ones(2, 3), "count": torch.tensor(7)}
        >>> b"".join(tensor_bytes(tensors)) == safetensors.torch.save(tensors)
        True
    """
    # As the library orders them: an element of n bytes then begins at a multiple of n.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    parts, entries, end = list[memoryview](), {}, 0
    for name in names:
        tensor = tensors[name].detach().cpu().contiguous()
        begin, end = end, end + tensor.nbytes
        entries[name] = {
            "dtype": _dtype_name(tensor.dtype),
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        parts.append(_memory(tensor))
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return [memoryview(len(header).to_bytes(8, "little") + header), *parts]


def _memory(tensor: "Tensor") -> memoryview:
    import torch

    return tensor.reshape(-1).view(torch.uint8).numpy().data


@functools.cache
def _dtype_name(dtype: "torch.dtype") -> str:
    """What the format calls a dtype, by the library's own word."""
    import safetensors.torch
    import torch

    content = safetensors.torch.save({"": torch.empty(0, dtype=dtype)})
    return str(json.loads(content[8:])[""]["dtype"])
