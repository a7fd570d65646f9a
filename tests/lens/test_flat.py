"""Clips, volumes and signals as flat pictures."""

import numpy as np
import pytest
import torch

from vitrail.errors import TierError
from vitrail.lens import flat
from vitrail.lens.heat import Scale, read_colors
from vitrail.lens.pictures import heat_map
from vitrail.preprocess import Preprocess, Sampling


def clip(frames: int) -> torch.Tensor:
    """Frames of 144 pixels, all of the gray value of their number times ten."""
    return (torch.arange(frames) * 10).to(torch.uint8).view(1, -1, 1, 1).expand(3, -1, 144, 144)


class TestPictures:
    def test_frames_stand_side_by_side_evenly_taken(self) -> None:
        strip = flat.picture(clip(16))
        assert strip.shape == (144, 8 * 144, 3)
        middles = strip[72, 72::144, 0] * 255 / 10
        assert middles.round().tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
        assert flat.picture(clip(3)).shape == (144, 3 * 144, 3)
        assert (strip[:, 143] == 1).all()  # a line between the first and the second

    def test_a_curve_rises_where_the_signal_does(self) -> None:
        signal = torch.linspace(0, 255, 100).to(torch.uint8)[None]
        ink = flat.picture(signal)[..., 0]
        heights = [np.flatnonzero(column).mean() for column in ink.T]
        assert np.diff(heights).max() <= 0.51 and heights[0] - heights[-1] > 120
        two = flat.picture(signal.expand(2, -1))[..., 0]
        assert (two[:80] != two[80:]).mean() < 0.01 and two[:80].any()  # a lane for each channel

    def test_floats_have_one_scale(self) -> None:
        values = torch.tensor([[-1000.0, 0, 1000]])
        window = Preprocess((3,), None, mean=(7.0,), std=(1.0,), sampling=Sampling(window=(0, 500)))
        assert flat.to_bytes(values, window).tolist() == [[0, 0, 255]]
        plain = Preprocess((3,), None, mean=(0.0,), std=(500.0,))
        assert flat.to_bytes(values, plain).tolist() == [[42, 128, 212]]
        batch = flat.to_bytes(values[None].expand(2, -1, -1), plain)
        assert batch.tolist() == [[[42, 128, 212]]] * 2


class TestHeat:
    def test_each_frame_glows_by_its_own_patches_on_one_scale(self) -> None:
        weights = torch.zeros(2, 2, 2)
        weights[1, 0, 1] = 1.0
        drawn = flat.heat(clip(2), weights).mean(2)
        cells = drawn.reshape(2, 72, 4, 72).mean((1, 3))
        assert np.unravel_index(cells.argmax(), cells.shape) == (0, 3)
        assert cells[0, 3] > 2 * np.delete(cells.ravel(), 3).max()

    def test_more_frames_than_patches_in_time(self) -> None:
        weights = torch.arange(4.0).view(4, 1, 1).expand(4, 2, 2)
        drawn = flat.heat(clip(16) * 0, weights).mean(2)[30, 30::144]
        assert drawn[0] == drawn[1] < drawn[2] == drawn[3] < drawn[4] < drawn[6]
        per_step = flat.heat(clip(16) * 0, torch.arange(4.0)).mean(2)[30, 30::144]
        np.testing.assert_allclose(per_step, drawn)

    def test_images_are_drawn_as_ever(self) -> None:
        image, weights = torch.randint(0, 255, (3, 224, 224), dtype=torch.uint8), torch.rand(4, 4)
        np.testing.assert_array_equal(flat.heat(image, weights), heat_map(image, weights))

    def test_a_signal_glows_in_bands(self) -> None:
        drawn = flat.heat(torch.zeros(1, 40, dtype=torch.uint8), torch.eye(4)[2])
        bands = read_colors(drawn[0].reshape(4, -1, 3).mean(1), Scale(0.0, 1.0))
        np.testing.assert_allclose(bands, [0, 0, 1, 0], atol=0.01)

    def test_colors_cover_the_patches(self) -> None:
        colors = torch.zeros(2, 1, 1, 3, dtype=torch.uint8)
        colors[1, ..., 0] = 255
        drawn = flat.cells(clip(4), colors)
        assert drawn[50, 50::144, 0].tolist() == [0, 0, 1, 1] and not drawn[50, 50::144, 1].any()

    def test_other_grids_are_refused(self) -> None:
        with pytest.raises(TierError, match=r"patches \(2, 2\) cannot be drawn over 3 axes"):
            flat.heat(clip(2), torch.zeros(2, 2))
        with pytest.raises(TierError, match=r"cannot be drawn over 1 axes"):
            flat.cells(torch.zeros(1, 8, dtype=torch.uint8), torch.zeros(2, 2, 3))
