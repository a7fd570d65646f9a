"""Tables of positions, resampled to another grid and back."""

import math

import torch
from hypothesis import strategies as st

from tests.properties.strategies import drawn, seeds
from vitrail.layers import PositionTable, resize_positions, sincos_positions

grids = st.one_of(
    st.tuples(st.integers(1, 40)),
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
)


@st.composite
def pairs_of_grids(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two grids with as many axes."""
    grid = draw(grids)
    return grid, tuple(draw(st.integers(1, 3)) * side for side in grid)


def table_of(grid: tuple[int, ...], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, math.prod(grid), 4, generator=generator, dtype=torch.double)


@drawn(60, grids=pairs_of_grids(), seed=seeds, antialias=st.booleans())
def test_what_does_not_vary_stays(
    grids: tuple[tuple[int, ...], tuple[int, ...]], seed: int, antialias: bool
) -> None:
    old, new = grids
    antialias = antialias and len(old) == 2
    row = table_of((1,), seed)
    resized = resize_positions(row.expand(1, math.prod(old), 4), old, new, antialias)
    assert (resized - row).abs().max() < 1e-12  # weights of a resampling sum to 1


@drawn(60, grids=pairs_of_grids(), seed=seeds)
def test_linear_positions_come_back_inside(
    grids: tuple[tuple[int, ...], tuple[int, ...]], seed: int
) -> None:
    """Interpolation keeps what is linear in the coordinates, two cells away from the edges."""
    old, new = grids
    slopes = table_of((len(old),), seed)[0, :, 0]
    axes = torch.meshgrid(*(torch.arange(n).double() for n in old), indexing="ij")
    ramp = sum(slope * axis for slope, axis in zip(slopes, axes, strict=True))
    back = resize_positions(
        resize_positions(ramp.reshape(1, -1, 1), old, new), new, old
    ).view(old)  # fmt: skip
    inside = tuple(slice(2, -2) for _ in old)
    assert (back - ramp)[inside].abs().sum() < 1e-9 * (1 + ramp.abs().max())


@drawn(60, grids=pairs_of_grids(), seed=seeds)
def test_odd_factors_without_smoothing_are_undone(
    grids: tuple[tuple[int, ...], tuple[int, ...]], seed: int
) -> None:
    """A grid with an odd number of cells for each has one in the middle of each: it is exact."""
    old, new = grids
    if any(n // o % 2 == 0 for n, o in zip(new, old, strict=True)):
        new = tuple(3 * side for side in old)
    table = table_of(old, seed)
    back = resize_positions(resize_positions(table, old, new), new, old)
    assert (back - table).abs().max() < 1e-12 * (1 + table.abs().max())


@drawn(40, grid=grids, seed=seeds)
def test_the_same_grid_is_the_same_table(grid: tuple[int, ...], seed: int) -> None:
    table = table_of(grid, seed)
    assert resize_positions(table, grid, grid) is table


@drawn(30, grids=pairs_of_grids(), prefix=st.integers(0, 3), seed=seeds)
def test_prefix_tokens_keep_their_positions(
    grids: tuple[tuple[int, ...], tuple[int, ...]], prefix: int, seed: int
) -> None:
    old, new = grids
    torch.manual_seed(seed)
    table, other = PositionTable(old, 4, prefix=prefix), PositionTable(new, 4, prefix=prefix)
    resampled = table.resampled_to(other)["weight"]
    assert resampled.shape == other.weight.shape
    assert torch.equal(resampled[:, :prefix], table.weight[:, :prefix])


@drawn(30, grid=st.tuples(st.integers(1, 9), st.integers(1, 9)), axis=st.integers(0, 1))
def test_fixed_positions_of_a_part_are_those_of_the_whole(grid: tuple[int, int], axis: int) -> None:
    larger = tuple(side + (k == axis) for k, side in enumerate(grid))
    part = sincos_positions(grid, 8).view(*grid, 8)
    whole = sincos_positions(larger, 8).view(*larger, 8)
    assert torch.equal(whole[: grid[0], : grid[1]], part)
