"""A point of a picture as it is leads to the patch of the model's crop that shows it."""

import pytest
import torch

from vitrail.errors import ConfigError, TierError
from vitrail.lens.points import mark_patch, patch_at
from vitrail.preprocess import Preprocess

GRID = (8, 8)
WAYS = {
    "crop": Preprocess((64, 64), 73, "nearest"),
    "squeeze": Preprocess((64, 64), None, "nearest"),
    "pad": Preprocess((64, 64), None, "nearest", pad=True),
    "rectangle": Preprocess((64, 32), 80, "nearest"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [(120, 90), (90, 120), (301, 77), (40, 40)])
def test_a_marked_pixel_is_in_the_patch(way: str, size: tuple[int, int]) -> None:
    """Against the preprocessing itself: a bright spot of the picture is looked for in the crop."""
    preprocess, (width, height) = WAYS[way], size
    generator = torch.Generator().manual_seed(0)
    hits = 0
    for _ in range(100 if max(size) > 200 else 25):
        x = int(torch.randint(width, (1,), generator=generator))
        y = int(torch.randint(height, (1,), generator=generator))
        picture = torch.zeros(3, height, width, dtype=torch.uint8)
        radius = max(3, width // 40)
        picture[:, max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1] = 255
        crop = preprocess.crop(picture)[0].float()
        if preprocess.pad:  # the borders have the mean's color
            crop = (crop == 255).float()
        try:
            row, column = patch_at((x, y), size, preprocess, GRID)
        except ConfigError as problem:
            assert "outside the part of the picture that the model sees" in str(problem)
            continue
        assert crop.any()
        rows, columns = torch.where(crop > 0)
        center = (
            rows.float().mean() / (crop.shape[0] / 8),
            columns.float().mean() / (crop.shape[1] / 8),
        )
        if min(x, y, width - 1 - x, height - 1 - y) > radius:
            hits += 1
            assert abs(center[0] - row - 0.5) < 1.1 and abs(center[1] - column - 0.5) < 1.1
    assert hits > 3


def test_corners_and_points_outside() -> None:
    squeeze = WAYS["squeeze"]
    assert patch_at((0, 0), (120, 90), squeeze, GRID) == (0, 0)
    assert patch_at((119, 89), (120, 90), squeeze, GRID) == (7, 7)
    assert patch_at((60, 44), (120, 90), squeeze, GRID) == (3, 4)
    for point in ((120, 0), (0, 90), (-1, 0)):
        with pytest.raises(ConfigError, match=r"outside the picture: x is 0 to 119, y is 0 to 89"):
            patch_at(point, (120, 90), squeeze, GRID)
    crop = Preprocess((64, 64), 64)
    with pytest.raises(ConfigError, match=r"model sees: x is 15 to 104, y is 0 to 89"):
        patch_at((2, 2), (120, 90), crop, GRID)
    assert patch_at((16, 2), (120, 90), crop, GRID) == (0, 0)
    with pytest.raises(TierError, match=r"has the grid \(4,\)"):
        patch_at((2, 2), (120, 90), crop, (4,))


def test_a_frame_is_around_the_patch() -> None:
    pixels = torch.full((16, 16, 3), 0.5).numpy()
    framed = mark_patch(pixels, (4, 4), (1, 2))
    assert (framed[5:7, 9:11] == 0.5).all()
    assert (framed[4, 8:12] == 0).all() and (framed[3, 7:13] == 1).all()
    assert (framed[:3] == 0.5).all() and (pixels == 0.5).all()
    assert mark_patch(pixels, (4, 4), (0, 0)).shape == pixels.shape
