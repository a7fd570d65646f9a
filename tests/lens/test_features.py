"""Patch features as colors."""

import pytest
import torch

from vitrail.errors import ConfigError, DataError, TierError
from vitrail.lens.features import ColorBasis, pca_colors, stretch
from vitrail.models.features import Features


def grid_features(patches: torch.Tensor, grid: tuple[int, ...]) -> Features:
    return Features(patches, patches[:, :0], grid)


def test_colors_tell_groups_apart_and_repeat() -> None:
    groups = torch.randint(0, 2, (2, 16))
    patches = torch.randn(2, 16, 8) * 0.01 + groups[..., None] * torch.linspace(-1, 1, 8)
    colors = pca_colors(grid_features(patches, (4, 4)))
    assert (colors.shape, colors.dtype) == ((2, 4, 4, 3), torch.uint8)
    red = colors[..., 0].flatten(1).float()
    assert (red[groups == 0].mean() - red[groups == 1].mean()).abs() > 200
    assert torch.equal(colors, pca_colors(grid_features(patches, (4, 4))))
    swapped = pca_colors(grid_features(patches.flip(0), (4, 4))).flip(0)
    assert (swapped.int() - colors.int()).abs().max() <= 1, "colors mean the same in a batch"


@pytest.mark.parametrize("seed", range(4))
def test_colors_are_principal_components_of_a_fixed_sign(seed: int) -> None:
    """Against the singular vectors; the entry of the largest magnitude is made positive."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(1, 100, 12, generator=generator) * torch.linspace(3, 0.1, 12)
    colors = pca_colors(grid_features(patches, (10, 10))).reshape(100, 3)
    left, singular, right = torch.linalg.svd(patches[0] - patches[0].mean(0), full_matrices=False)
    for channel in range(3):
        axis = right[channel]
        sign = axis[axis.abs().argmax()].sign()
        expected = stretch(sign * singular[channel] * left[:, channel]) * 255
        assert (colors[:, channel] - expected).abs().max() < 1


@pytest.mark.parametrize("direction", [(3.0, -1.0, 1.0), (-3.0, 1.0, -1.0)])
def test_red_grows_with_the_largest_entry_of_the_first_component(
    direction: tuple[float, ...],
) -> None:
    line = torch.linspace(-1, 1, 16)[:, None] * torch.tensor(direction)
    red = pca_colors(grid_features(line[None], (4, 4)))[0, ..., 0].flatten().int()
    by_first_entry = line[:, 0].argsort()
    assert (red[by_first_entry].diff() >= 0).all()
    assert red[by_first_entry[-1]] - red[by_first_entry[0]] == 255


def test_a_component_that_does_not_exist_stays_black() -> None:
    line = torch.linspace(-1, 1, 16)[:, None] * torch.ones(8)  # one direction only
    for width in (8, 2):
        colors = pca_colors(grid_features(line[None, :, :width], (4, 4)))
        assert colors[..., 0].float().std() > 50
        assert not colors[..., 1:].any()
    flat = torch.ones(1, 16, 8)
    assert not pca_colors(grid_features(flat, (4, 4))).any()


def test_stretch_clips_two_percent_on_either_side() -> None:
    values = torch.linspace(0, 1, 101)[:, None]
    torch.testing.assert_close(stretch(values), ((values - 0.02) / 0.96).clamp(0, 1))
    columns = torch.cat([values, 1e-4 * values], dim=1)
    assert not stretch(columns)[:, 1].any(), "beside the first, the second does not vary"


def test_the_background_is_black_if_asked_for() -> None:
    grid = torch.zeros(6, 6)
    grid[2:4, 2:4] = torch.tensor([[1.0, 1.2], [0.8, 1.0]])
    for sign in (-1, 1):  # whichever direction the first component has
        patches = torch.randn(1, 36, 8) * 0.01 + sign * grid.reshape(1, 36, 1)
        colored = pca_colors(grid_features(patches, (6, 6)), foreground=0.5).any(-1)[0]
        assert not colored[grid == 0].any()
        assert colored.sum() >= 3  # the lowest on all three components may be black
    with pytest.raises(TierError, match=r"this grid is \(1, 6, 6\)"):
        pca_colors(grid_features(patches, (1, 6, 6)), foreground=0.5)


def test_features_without_colors_are_one_line() -> None:
    patches = torch.randn(1, 4, 3)
    features = Features(patches, patches[:, :0], (2, 2))
    with pytest.raises(DataError, match="infinite or no numbers"):
        pca_colors(features._replace(patches=patches / 0))
    with pytest.raises(ConfigError, match="foreground=2.0 is not"):
        pca_colors(features, 2.0)
    wider = Features(torch.zeros(1, 4, 5), torch.zeros(1, 0, 5), (2, 2))
    with pytest.raises(TierError, match="width 5 .* width 3: make one of theirs"):
        ColorBasis.of(features).colors(wider)
