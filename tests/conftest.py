"""Set up before any test module is imported."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches for the net
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

# timm, vit-pytorch and transformers, the oracles, import torchvision, whose compiled part is not
# there for every torch. Its Python part asks for two operators only to register fakes for them.
TORCHVISION = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    TORCHVISION.define(f"{operator}(Tensor x) -> Tensor")

torch.set_num_threads(1)  # small models: threads would only wait for each other


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random numbers."""
    torch.manual_seed(0)
