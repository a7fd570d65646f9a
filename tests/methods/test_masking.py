"""Which places are hidden, and that hidden is hidden."""

import pytest
import torch

from tests.models.small import small
from vitrail.errors import ConfigError, DataError, TierError
from vitrail.methods.masking import (
    add_mask_token,
    block_mask,
    embed_masked,
    random_mask,
    reconstruction_rows,
    resize_mask,
    shuffle_mask,
    split_mask,
    tube_mask,
    zero_cells,
)


def test_the_highest_noise_is_hidden() -> None:
    noise = torch.tensor([[0.1, 0.9, 0.5, 0.3], [0.8, 0.2, 0.4, 0.6]])
    assert shuffle_mask(noise, 0.5).tolist() == [[0, 1, 1, 0], [1, 0, 0, 1]]
    assert shuffle_mask(torch.rand(3, 196), 0.75).sum(1).tolist() == [147] * 3


@pytest.mark.parametrize(("ratio", "what"), [(0, "none"), (0.95, "all")])
def test_a_ratio_that_leaves_nothing_to_do_is_refused(ratio: float, what: str) -> None:
    with pytest.raises(ConfigError, match=f"mask_ratio={ratio} of 4 patches masks {what}"):
        shuffle_mask(torch.rand(1, 4), ratio)


def test_random_masks_differ_and_units_stay_together() -> None:
    mask = random_mask(5, (4, 6), 0.5, unit=2)
    assert mask.shape == (5, 24) and mask.sum(1).tolist() == [12] * 5
    units = mask.unflatten(1, (2, 2, 3, 2)).transpose(2, 3).flatten(3)
    assert (units.all(-1) | ~units.any(-1)).all()
    assert len(random_mask(50, (4, 4), 0.5).unique(dim=0)) > 40
    with pytest.raises(ConfigError, match="mask_unit=3 does not divide"):
        random_mask(1, (4, 6), 0.5, unit=3)


def test_tubes_run_through_all_frames() -> None:
    mask = tube_mask(3, (5, 4, 4), 0.75).unflatten(1, (5, 16))
    assert (mask == mask[:, :1]).all() and mask[:, 0].sum(1).tolist() == [12] * 3
    with pytest.raises(ConfigError, match="needs a grid with frames"):
        tube_mask(1, (4, 4), 0.5)


def test_resizing_repeats_cells() -> None:
    mask = torch.tensor([[True, False, False, True]])
    fine = resize_mask(mask, (2, 2), (4, 6)).unflatten(1, (4, 6))[0]
    wanted = mask.view(2, 2).repeat_interleave(2, 0).repeat_interleave(3, 1)
    assert (fine == wanted).all()


def test_split_is_sorted_and_complete() -> None:
    mask = random_mask(4, (5, 5), 0.6)
    for kept, hidden in (split_mask(mask), split_mask(mask, 10)):
        assert kept.shape == (4, 10) and hidden.shape == (4, 15)
        assert not mask.gather(1, kept).any() and mask.gather(1, hidden).all()
        assert (kept.diff() > 0).all() and (hidden.diff() > 0).all()
    uneven = torch.tensor([[True, False, False], [True, True, False]])
    with pytest.raises(DataError, match="leave 1 to 2 of 3 patches visible"):
        split_mask(uneven)
    with pytest.raises(DataError, match="neither all nor none"):
        split_mask(torch.ones(2, 3, dtype=torch.bool))


def test_hiding_zeroes_cells_and_only_those() -> None:
    images, mask = torch.rand(2, 3, 8, 12) + 1, random_mask(2, (2, 3), 0.5)
    hidden = zero_cells(images, mask, (2, 3))
    for b in range(2):
        for place in range(6):
            y, x = divmod(place, 3)
            cell = (b, slice(None), slice(4 * y, 4 * y + 4), slice(4 * x, 4 * x + 4))
            wanted = 0 if mask[b, place] else images[cell]
            assert (hidden[cell] == wanted).all()


def test_marking_adds_the_token_on_a_finer_grid() -> None:
    model = small("Swin")
    features = model.embed(torch.rand(1, 3, 32, 32))
    mask, token = torch.tensor([[True, False, False, False]]), torch.ones(1, 1, 16)
    added = add_mask_token(features, mask, (2, 2), token).patches - features.patches
    places = added.mean(-1).unflatten(1, features.grid)[0]
    side = features.grid[0] // 2
    assert torch.allclose(places[:side, :side], torch.ones(side, side))
    assert places.abs().sum().item() == pytest.approx(side * side, rel=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    mask = random_mask(1, (4, 4), 0.5)
    with pytest.raises(DataError, match=r"images of \(16, 16\) pixels"):
        embed_masked(small("ViT"), torch.rand(1, 3, 16, 16), mask, (4, 4))
    dropping = small("NaViT", token_dropout=0.5).train()
    with pytest.raises(TierError, match="set its token_dropout=0"):
        embed_masked(dropping, torch.rand(1, 3, 32, 32), mask, (4, 4))


def test_pictures_are_rebuilt_where_hidden() -> None:
    images, mask = torch.rand(2, 3, 8, 8), random_mask(2, (4, 4), 0.75)
    _, hidden = split_mask(mask)
    built = torch.full((2, 12, 12), 2.0)
    given, masked, rebuilt = reconstruction_rows(images, mask, (4, 4), hidden, built)
    assert (given == images).all() and (masked == zero_cells(images, mask, (4, 4))).all()
    assert (rebuilt == torch.where(masked == 0, 2.0, images)).all()


def test_blocks_are_as_often_tall_as_wide() -> None:
    """As many vertical as horizontal pairs of masked patches, over many masks."""
    mask = block_mask(2000, (14, 14), 0.2).unflatten(1, (14, 14))
    vertical = (mask[:, 1:] & mask[:, :-1]).sum()
    horizontal = (mask[:, :, 1:] & mask[:, :, :-1]).sum()
    assert 0.9 < vertical / horizontal < 1.1


def test_blocks_have_their_smallest_size() -> None:
    """Larger rectangles leave fewer edges: more pairs of neighbors are masked together."""

    def pairs(smallest: int) -> float:
        mask = block_mask(500, (28, 28), 0.3, smallest=smallest).unflatten(1, (28, 28))
        return float((mask[:, 1:] & mask[:, :-1]).sum() + (mask[:, :, 1:] & mask[:, :, :-1]).sum())

    torch.manual_seed(0)
    assert pairs(50) > 1.015 * pairs(1)  # 1.027; two runs differ by 0.001
