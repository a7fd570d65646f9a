"""Planted faults are named within 60 steps, and a healthy run has no warning.

`python -m tools.planted_faults` does the same within 100 steps on Fashion-MNIST, with more models.
"""

from typing import Any

import pytest

from tools.planted_faults import FAULTS, is_named, lines_of
from vitrail.train.config import RunConfig, make_config

STEPS = 60


def digits(**sections: Any) -> RunConfig:
    """A small ViT of 16 tokens on digits."""
    options = {"patch_size": 2, "dim": 32, "depth": 4, "heads": 4, "mlp_dim": 64}
    return make_config(
        {
            "model": {"name": "ViT", "options": options},
            "data": {
                "source": "digits", "batch_size": 32, "validation": 0, "workers": 0,
                "augment": {"crop": "none", "flip": 0},
            },
            "schedule": {"epochs": 4},
            "train": {"threads": 1},
            **sections,
        }
    )  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str) -> None:
    warnings, _lines = lines_of(digits(), FAULTS[name].plant, STEPS)
    assert is_named(FAULTS[name], warnings), warnings
    assert len(warnings) == 1, warnings


@pytest.mark.parametrize(
    "sections",
    [{}, {"method": {"name": "mae", "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}}],
    ids=["supervised", "mae"],
)
def test_a_healthy_run_has_no_warning(sections: dict[str, Any]) -> None:
    warnings, lines = lines_of(digits(**sections), steps=STEPS)
    assert not warnings
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60]
