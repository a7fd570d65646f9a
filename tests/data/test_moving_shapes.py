"""Moving shapes: the motion is the class, and a frame alone does not tell it."""

import numpy as np
import pytest
import torch

from vitrail.data.moving_shapes import MOTIONS, draw_motions
from vitrail.data.registry import open_dataset


def centers(clips: torch.Tensor) -> torch.Tensor:
    """(N, T, 2): row and column of the center of what is brighter than its ground, as angles on a
    picture whose sides meet."""
    ground = clips.flatten(1).median(1).values.view(-1, 1, 1, 1)
    light = (clips[:, 0].double() - ground - 50).clamp(min=0)
    turns = torch.exp(2j * torch.pi * torch.arange(32.0) / 32)
    return torch.stack([(light.sum(3) * turns).sum(2), (light.sum(2) * turns).sum(2)], 2)


def test_shapes_move_as_their_class_says() -> None:
    clips = draw_motions(np.arange(800) % 8, np.random.default_rng(0))
    assert clips.dtype == torch.uint8 and clips.shape == (800, 1, 8, 32, 32)
    center = centers(clips)
    way = (center[:, 1:] * center[:, :-1].conj()).angle().sum(1) * 32 / (2 * torch.pi)
    size = (clips.float() - clips.flatten(1).median(1).values.view(-1, 1, 1, 1, 1) > 50).float()
    growth = size.mean((1, 3, 4)).clamp(min=1e-3).log().diff(dim=1).median(1).values
    for motion, (rows, columns) in enumerate([(0, 1), (0, -1), (1, 0), (-1, 0)]):
        along = way[motion::8] @ torch.tensor([rows, columns]).double()
        assert (along > 3).double().mean() > 0.9, MOTIONS[motion]
    assert (growth[4::8] > 0).float().mean() > 0.9 and (growth[5::8] < 0).float().mean() > 0.9


@pytest.mark.slow
def test_no_frame_tells_the_class() -> None:
    clips = draw_motions(np.arange(4000) % 8, np.random.default_rng(0)).float()
    for frame in (0, 7):
        brightness = torch.stack([clips[n::8, 0, frame].mean(0) for n in range(4)])
        # Of right and left, down and up alike; the noise of a mean of 500 is about 3.
        assert (brightness - brightness.mean(0)).std() < 5


def test_opposite_motions_have_the_same_frames() -> None:
    forward = draw_motions(np.zeros(100, int), np.random.default_rng(3)).float()
    backward = draw_motions(np.ones(100, int), np.random.default_rng(3)).float()
    # They differ by their noise, of a standard deviation of 12, and by nothing else.
    assert 12 < (forward - backward.flip(2)).abs().mean() < 15


def test_splits_differ_and_come_again() -> None:
    validation, test = (open_dataset("moving-shapes", split) for split in ("val", "test"))
    assert (len(validation), len(test)) == (800, 1600)
    assert not torch.equal(validation.read(0), test.read(0))
    assert torch.bincount(torch.tensor(test.targets())).tolist() == [200] * 8
