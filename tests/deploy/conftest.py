"""Exports, less slowly."""

import functools
from collections.abc import Iterator

import pytest
from torch.onnx._internal.exporter._registration import onnxscript_apis


@pytest.fixture(autouse=True, scope="package")
def translations() -> Iterator[None]:
    """Those of onnxscript, whose source PyTorch parses again for each export, for a second.

    Private names: without them an export is the same, and takes that second.
    """
    with pytest.MonkeyPatch.context() as patch:
        read = functools.cache(onnxscript_apis.get_torchlib_ops)
        patch.setattr(onnxscript_apis, "get_torchlib_ops", read)
        yield
