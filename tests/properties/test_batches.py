"""A sample's logits do not depend on the rest of its batch, its place in it, or its size."""

import pytest
import torch
from hypothesis import strategies as st

from tests.models.small import CASES, IDS
from tests.properties.strategies import (
    drawn,
    drawn_more,
    images_of,
    model_of,
    relative_error,
    seeds,
)  # fmt: skip

# Products of other sizes are summed in another order: a few roundings of float32 per block.
ROUNDING = 3e-5


@st.composite
def permutations(draw: st.DrawFn) -> list[int]:
    """An order of one to seven samples."""
    return draw(st.permutations(range(draw(st.integers(1, 7)))))


def check(index: int, order: list[int], cut: int, seed: int) -> None:
    model, cut = model_of(index), cut % (len(order) + 1)
    images = images_of(model, len(order), seed)
    with torch.no_grad():
        whole = model(images)
        parts = torch.cat([model(images[:cut]), model(images[cut:])])
        permuted = model(images[order])
        alone = model(images[order[:1]])
    assert whole.isfinite().all()
    assert relative_error(parts, whole) < ROUNDING
    assert relative_error(permuted, whole[order]) < ROUNDING
    assert relative_error(alone, whole[order[:1]]) < ROUNDING


# The first case of each class; all cases and more draws are slow tests.
FIRST = [index for index, (_name, more) in enumerate(CASES) if not more]


@pytest.mark.parametrize("index", FIRST, ids=[IDS[index] for index in FIRST])
@drawn(2, order=permutations(), cut=st.integers(0, 7), seed=seeds)
def test_parts_and_permutations(index: int, order: list[int], cut: int, seed: int) -> None:
    check(index, order, cut, seed)


@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
@drawn_more(1, order=permutations(), cut=st.integers(0, 7), seed=seeds)
def test_parts_and_permutations_of_every_case(
    index: int, order: list[int], cut: int, seed: int
) -> None:
    check(index, order, cut, seed)
