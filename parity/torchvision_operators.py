"""Declarations of the operators without which torchvision's Python part cannot be imported.

torchvision's compiled part loads only with the torch that it was built for. Its Python part
registers shape functions for two compiled operators, `nms` and `qnms`, and fails where they are not
declared. The originals never call them, so a declaration without a kernel is enough.
"""

import importlib.util
from pathlib import Path

import torch


def compiled_part_loads() -> bool:
    """Whether torchvision is installed with a compiled part that loads with this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    try:
        for library in Path(spec.origin).parent.glob("_C*.so"):
            torch.ops.load_library(library)
            return True
    except OSError:
        return False
    return False


if not compiled_part_loads():
    LIBRARY = torch.library.Library("torchvision", "DEF")  # the declarations last as long as it
    for operator in ("nms", "qnms"):
        LIBRARY.define(f"{operator}(Tensor x) -> Tensor")
