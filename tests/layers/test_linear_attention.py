"""Linear attention: Linformer's first values."""

import pytest

from vitrail.layers.linear_attention import Linformer


def test_the_projection_starts_with_the_rank_s_standard_deviation() -> None:
    sums = Linformer(16, 2, (16, 16), prefix=1, rank=32).sums
    assert sums.std().item() == pytest.approx(32**-0.5, rel=0.03)
