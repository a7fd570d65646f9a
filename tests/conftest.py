"""Set up before any test module is imported."""

import importlib.util
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches for the net
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch


def torchvision_compiled() -> bool:
    """Whether torchvision is there with a compiled part that loads with this torch."""
    spec = importlib.util.find_spec("torchvision")
    try:
        for library in Path(spec.origin).parent.glob("_C*.so") if spec and spec.origin else ():
            torch.ops.load_library(library)
            return True
    except OSError:
        pass
    return False


# timm, vit-pytorch and transformers, the oracles, import torchvision, whose compiled part does not
# load with every torch. Its Python part asks for two operators only to register fakes for them.
if not torchvision_compiled():
    TORCHVISION = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        TORCHVISION.define(f"{operator}(Tensor x) -> Tensor")

torch.set_num_threads(1)  # small models: threads would only wait for each other


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random numbers."""
    torch.manual_seed(0)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--parity-table` writes docs/parity.md from what the comparisons found."""
    parser.addoption("--parity-table", action="store_true", help="write docs/parity.md")
