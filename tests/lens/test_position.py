"""Position-only baselines, and the symmetry of the two directions of a scan."""

import math

import pytest
import torch

from tests.models.small import images_for, small
from vitrail.contract.model_case import awake
from vitrail.errors import TierError
from vitrail.lens.position import explained_by_position, position_baseline, shuffle_patches
from vitrail.lens.symmetry import symmetry
from vitrail.lens.trace import trace_attention


@pytest.mark.parametrize("shape", [(12,), (6, 8), (7, 9), (4, 6, 8)])
def test_shuffling_moves_whole_patches(shape: tuple[int, ...]) -> None:
    grid = tuple(side // 3 if side > 4 else 2 for side in shape)
    image = torch.arange(math.prod(shape)).view(1, 1, *shape).float()
    shuffled = shuffle_patches(image, grid, torch.Generator().manual_seed(0))
    assert sorted(shuffled.flatten().tolist()) == sorted(image.flatten().tolist())
    assert not torch.equal(shuffled, image)
    sides = [size // count for size, count in zip(shape, grid, strict=True)]

    def patches(x: torch.Tensor) -> set[tuple[float, ...]]:
        x = x[0, 0]
        for axis, side in enumerate(sides):
            x = x.unfold(axis, side, side)
        return {tuple(p.flatten().tolist()) for p in x.flatten(0, len(sides) - 1)}

    assert patches(shuffled) == patches(image)


def test_a_baseline_is_the_mean_over_orders() -> None:
    model = small("VisionMamba").eval()
    images = images_for(model)
    trace = trace_attention(model, images, query="mean")
    generator = torch.Generator().manual_seed(0)
    orders = [shuffle_patches(images, trace.features.grid, generator) for _ in range(3)]
    expected = [trace_attention(model, order, query="mean") for order in orders]
    baseline = position_baseline(model, images, trace, repeats=3)
    assert baseline.query == "mean" and baseline.depth == trace.depth
    for layer, maps in enumerate(baseline.attention):
        mean = sum(each.attention[layer] for each in expected) / 3
        torch.testing.assert_close(maps, mean)
    torch.testing.assert_close(baseline.rollout, sum(each.rollout for each in expected) / 3)
    again = position_baseline(model, images, trace, repeats=3)
    assert torch.equal(again.rollout, baseline.rollout)


def test_a_map_of_position_alone_is_explained_by_it() -> None:
    """A ViT without positions sees contents only; a scan over equal patches position only."""
    vim = small("VisionMamba", position="none").eval()
    flat = torch.ones(1, vim.channels, *vim.image_size)
    trace = trace_attention(vim, flat)
    baseline = position_baseline(vim, flat, trace)
    for maps, positional in zip(trace.attention, baseline.attention, strict=True):
        assert explained_by_position(maps[0, 0], positional[0, 0]) == pytest.approx(1, abs=1e-6)
    assert explained_by_position(torch.eye(2), 1 - torch.eye(2)) == pytest.approx(1)
    assert explained_by_position(torch.eye(2), torch.tensor([[1.0, 1], [0, 0]])) < 1e-9
    assert math.isnan(explained_by_position(torch.eye(2), torch.ones(2, 2)))
    with pytest.raises(TierError, match=r"a map \(2, 2\) has no baseline \(3,\)"):
        explained_by_position(torch.eye(2), torch.zeros(3))


def test_attention_without_positions_in_its_blocks_is_symmetric() -> None:
    model = awake(small("ViT")).eval().double()
    rows = symmetry(model, images_for(model).double())
    assert [row.block for row in rows] == [0, 1, 2]
    assert max(row.difference for row in rows) < 1e-9
    assert all(torch.allclose(row.cosine, torch.ones_like(row.cosine)) for row in rows)


def test_a_scan_in_one_direction_is_not() -> None:
    model = awake(small("VisionMamba", scan="forward", pool="mean")).eval()
    rows = symmetry(model, images_for(model))
    assert all(row.difference > 0.01 for row in rows)
    assert rows[0].cosine.shape == (2, 4, 4)


def test_two_directions_with_equal_parameters_are_symmetric() -> None:
    """The middle of 16 patches is that of the reversed ones, so the class token stays there."""
    model = awake(small("VisionMamba", scan="v2", position="none")).eval().double()
    images = images_for(model).double()
    unequal = symmetry(model, images)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            kinds = ("conv_weight", "conv_bias", "x_proj", "dt_weight", "dt_bias", "A_log", ".D")
            if name.endswith(kinds) and len(parameter) == 2:
                parameter[1] = parameter[0]
    equal = symmetry(model, images)
    assert max(row.difference for row in equal) < 1e-9 < min(row.difference for row in unequal)


def test_what_is_compared_is_f_of_x_and_the_flipped_f_of_the_flipped_x() -> None:
    model = small("VisionMamba", pool="mean", position="none").eval()
    images = images_for(model)
    embedded = model.embed(images)
    flipped = embedded._replace(patches=embedded.patches.flip(1))
    tokens, context, to_features = model.to_sequence(flipped)
    other = to_features(model.blocks[0](tokens, *context)).patches.flip(1)
    (plain,) = model.intermediates(images, [0])
    norm = (plain.patches - plain.patches.mean(1, keepdim=True)).norm()
    difference = ((plain.patches - other).norm() / norm).item()
    row = symmetry(model, images)[0]
    assert row.difference == pytest.approx(difference, rel=1e-4)
    assert "embed" not in vars(model), "the model is as before"


def test_models_without_an_order_say_so() -> None:
    with pytest.raises(TierError, match="CrossViT carries a second sequence"):
        model = small("CrossViT").eval()
        symmetry(model, images_for(model))
