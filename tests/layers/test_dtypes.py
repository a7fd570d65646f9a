"""The precision of losses and logits."""

import pytest
import torch

from vitrail.layers.dtypes import at_least_float32


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_is_raised_and_nothing_else(
    dtype: torch.dtype, expected: torch.dtype
) -> None:
    x = torch.ones(2, dtype=dtype)
    assert at_least_float32(x).dtype == expected
    assert (at_least_float32(x) is x) == (dtype == expected)
