"""The bytes of a safetensors file are those that the library writes and reads."""

import json

import pytest
import safetensors.torch
import torch

from vitrail.tensor_bytes import tensor_bytes

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn,
)  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_bytes_are_the_library_s(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    values = torch.randint(0, 2, (3, 4)).to(dtype)
    tensors = {"猫/b": values, "a": values[:2].clone(), "0": values[0, 0].clone()}
    tensors["empty"] = values[:0].clone()
    assert b"".join(tensor_bytes(tensors)) == safetensors.torch.save(tensors)


def test_tensors_of_all_dtypes_and_layouts_are_read_again() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(5, 3))
    tensors = {str(dtype): torch.randn(3).to(dtype) for dtype in DTYPES}
    tensors |= {"transposed": weight.T, "part": weight[:, 1], "weight": weight}
    content = b"".join(tensor_bytes(tensors))
    read = safetensors.torch.load(content)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert read[name].shape == tensor.shape
        assert torch.equal(read[name].to(torch.complex128), tensor.to(torch.complex128))
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    for name, entry in header.items():  # so that they can be read where they are
        assert entry["data_offsets"][0] % tensors[name].element_size() == 0


def test_contiguous_tensors_are_not_copied() -> None:
    weight = torch.zeros(1000)
    parts = tensor_bytes({"weight": weight})
    weight.fill_(1)
    assert bytes(parts[1][:4]) == b"\0\0\x80?"
