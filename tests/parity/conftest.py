"""Collects what the comparisons found, and writes it as a table when asked to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "en" / "parity.md"
HEAD = """# Models and their originals

Written by `pytest tests/parity/test_pairs.py --parity-table`: small models with random weights, the
same in both, and the largest difference of their logits, in units of the largest logit where that
is above 1. The gradient is the one that reaches the pixels, in float64, in units of its largest.
VisionMamba is compared with stored outputs of the official code, in `tests/parity/test_vim.py`.

| model | original | inputs | float64 | gradient | float32 | what had to be made equal |
| --- | --- | --- | --- | --- | --- | --- |
"""


@pytest.fixture(scope="session")
def parity_table(request: pytest.FixtureRequest) -> Iterator[list[dict[str, Any]]]:
    """Rows to add to."""
    rows: list[dict[str, Any]] = []
    yield rows
    if request.config.getoption("--parity-table"):
        DOCUMENT.write_text(HEAD + "".join(sorted(map(line, rows))), "utf-8")


def line(row: dict[str, Any]) -> str:
    sizes = ", ".join("×".join(map(str, size)) for size in row["sizes"])
    figures = " | ".join(f"{row[kind]:.0e}" for kind in ("float64", "gradient", "float32"))
    return f"| {row['model']} | {row['original']} | {sizes} | {figures} | {row['note']} |\n"
