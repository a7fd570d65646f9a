"""Attention of windows and of pyramids lies where the image is."""

import pytest
import torch

from tests.models.small import images_for, small
from vitrail.errors import TierError
from vitrail.lens.explanations.windows import received_attention, windowed_modules
from vitrail.lens.layouts import AttentionLayout, attention_layouts
from vitrail.lens.record import record
from vitrail.models.base import Backbone
from vitrail.models.registry import model_classes

# By model, per attention layer: grid of the queries, of the keys, prefix tokens, windows or not.
GRIDS = {
    "Swin": [
        ((16, 16), (16, 16), 0, True), ((16, 16), (16, 16), 0, True), ((8, 8), (8, 8), 0, True),
        ((4, 4), (4, 4), 0, True), ((4, 4), (4, 4), 0, True),
    ],
    "MaxViT": [((8, 8), (8, 8), 0, True)] * 2 + [((4, 4), (4, 4), 0, True)] * 4,
    "PVT": [
        ((16, 16), (4, 4), 0, False), ((16, 16), (4, 4), 0, False), ((8, 8), (4, 4), 0, False),
        ((4, 4), (4, 4), 1, False), ((4, 4), (4, 4), 1, False),
    ],
    "CvT": [
        ((16, 16), (8, 8), 0, False), ((8, 8), (4, 4), 0, False), ((4, 4), (2, 2), 1, False),
        ((4, 4), (2, 2), 1, False),
    ],
    "PiT": [
        ((7, 7), (7, 7), 1, False), ((7, 7), (7, 7), 1, False), ((4, 4), (4, 4), 1, False),
        ((2, 2), (2, 2), 1, False), ((2, 2), (2, 2), 1, False),
    ],
    "VisionMamba": [((4, 4), (4, 4), 1, False)] * 3,
}  # fmt: skip


def matrix(layout: AttentionLayout, weights: torch.Tensor) -> torch.Tensor:
    """Weights (heads, windows, T, T) as (heads, N, N) between all cells, written in loops."""
    assert layout.cells is not None
    by_head, count = layout.by_head(weights), layout.grid[0] * layout.grid[1]
    between = torch.zeros(layout.heads, count, count)
    for window, cells in enumerate(layout.cells.tolist()):
        for i, query in enumerate(cells):
            for j, key in enumerate(cells):
                if query >= 0 and key >= 0:
                    between[:, query, key] = by_head[:, window, i, j]
    return between


def recorded(model: Backbone) -> list[tuple[AttentionLayout, torch.Tensor]]:
    images = images_for(model, 1)
    layouts = attention_layouts(model, images)
    with torch.no_grad(), record(model) as maps:
        model(images)
    return [
        (layout, maps[key])
        for key, layout in layouts.items()
        if isinstance(layout, AttentionLayout)
    ]


@pytest.mark.parametrize("name", GRIDS)
def test_layers_lie_on_the_grids_of_their_stages(name: str) -> None:
    layers = recorded(small(name).eval())
    rows = [(each.grid, each.key_grid, each.prefix, each.cells is not None) for each, _ in layers]
    assert rows == GRIDS[name]


def test_windows_are_folded_back() -> None:
    """What cells receive equals `received_attention`, and rows of whole windows sum to 1."""
    model = small("Swin").eval()
    for number, (layout, weights) in enumerate(recorded(model)):
        between = matrix(layout, weights)
        received = received_attention(model, images_for(model, 1), number)[0]
        torch.testing.assert_close(between.sum(1).view_as(received), received)
        torch.testing.assert_close(between.sum(-1), torch.ones_like(between.sum(-1)))


def test_a_cell_changes_what_attends_to_it_and_nothing_else() -> None:
    """The shifted layer itself says which cells are in the window of another."""
    model = small("Swin").eval()
    layout, weights = recorded(model)[1]
    assert layout.cells is not None and layout.cells[0, 0] != 0  # it is shifted
    attends = matrix(layout, weights).sum(0) > 0  # (queries, keys)
    module = list(windowed_modules(model).values())[1]
    x = torch.randn(1, *layout.grid, 16)
    with torch.no_grad():
        before = module(x)
        for cell in (0, 17, 100, 255):
            changed = x.clone()
            changed.view(-1, 16)[cell] += 1
            difference = (module(changed) - before).abs().amax(-1).flatten() > 0
            assert torch.equal(difference, attends[:, cell])


@pytest.mark.parametrize("name", sorted(model_classes()))
def test_weights_have_the_shape_of_their_layout(name: str) -> None:
    """Every model of images: maps, or in one line why a layer has none."""
    model = small(name).eval()
    if len(model.image_size) != 2:
        pytest.skip("no model of images")
    try:
        layouts = attention_layouts(model, images_for(model, 1))
    except TierError as problem:
        assert "no attention" in str(problem)
        return
    for reason in layouts.values():
        assert isinstance(reason, AttentionLayout) or reason.endswith(
            "are not the cells of a grid."
        )
    for layout, weights in recorded(model):
        by_head = layout.by_head(weights)
        queries, keys = (rows * columns for rows, columns in (layout.grid, layout.key_grid))
        if layout.cells is None:
            shape = (layout.heads, layout.prefix + queries, layout.prefix + keys)
            assert tuple(by_head.shape) == shape
        else:
            assert tuple(by_head.shape[:2]) == (layout.heads, len(layout.cells))
            assert layout.cells[layout.cells >= 0].sort().values.tolist() == list(range(queries))


def test_layouts_are_of_one_image() -> None:
    model = small("Swin").eval()
    with pytest.raises(TierError, match="there are 2 images"):
        attention_layouts(model, images_for(model, 2))
