"""Heat maps are evidence: the color of a patch gives its weight, over whatever image."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.lines import Line2D
from PIL import Image

from vitrail.data.images import read_image
from vitrail.data.samples import sample_images
from vitrail.errors import ConfigError
from vitrail.lens.figures import Panel, panel_figure
from vitrail.lens.heat import COLORS, Scale, glow, read_colors
from vitrail.lens.html import color_bar, image_tag
from vitrail.lens.map_numbers import map_numbers
from vitrail.lens.pictures import heat_map
from vitrail.preprocess import Preprocess

GRID = 28


def ground(name: str) -> torch.Tensor:
    if name == "photograph":
        return Preprocess((448, 448), 512).crop(read_image(sample_images()[1], 3))
    if name == "noise":
        bits = torch.rand(1, 448, 448, generator=torch.Generator().manual_seed(0)) > 0.5
        return bits.to(torch.uint8).mul(255).expand(3, -1, -1)
    return torch.full((3, 448, 448), {"black": 0, "white": 255}[name], dtype=torch.uint8)


def weights(signed: bool = False) -> torch.Tensor:
    """Mostly small weights, and a few that are much larger, as attention has them."""
    values = 0.02 * torch.rand(GRID, GRID, generator=torch.Generator().manual_seed(1))
    values.view(-1)[:7] = torch.tensor([0.1, 0.3, 0.2, 0.05, 0.04, 0.03, 0.012])
    if signed:
        values.view(-1)[1::2] *= -0.5
    return values


def means(pixels: np.ndarray) -> np.ndarray:
    """The mean color of each patch."""
    side = pixels.shape[0] // GRID
    return pixels.reshape(GRID, side, GRID, side, 3).mean((1, 3))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", ["black", "white", "photograph", "noise"])
def test_the_color_of_a_patch_gives_its_weight(name: str, signed: bool) -> None:
    values = weights(signed)
    drawn = heat_map(ground(name), values)
    assert drawn.min() >= 0 and drawn.max() <= 1
    stored = (drawn * 255).round().astype(np.uint8) / 255
    scale = Scale.of(values)
    assert (scale.zero is not None) == signed
    error = read_colors(means(stored), scale) - values.numpy()
    assert np.abs(error).max() < 0.01 * (scale.high - scale.low)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", ["black", "white", "photograph"])
def test_so_it_does_in_a_written_picture_and_in_a_page(
    name: str, signed: bool, tmp_path: Path
) -> None:
    values = weights(signed)
    scale = Scale.of(values)
    drawn = heat_map(ground(name), values)
    figure = panel_figure([[Panel("map", drawn, scale, ("a", "b"))]])
    figure.savefig(tmp_path / "map.png", dpi=120)
    written = np.asarray(Image.open(tmp_path / "map.png").convert("RGB")) / 255
    box = figure.axes[0].get_position()
    height, width = written.shape[:2]
    rows = slice(round((1 - box.y1) * height), round((1 - box.y0) * height))
    picture = written[rows, round(box.x0 * width) : round(box.x1 * width)]
    side = picture.shape[0] // GRID
    resized = Image.fromarray((picture * 255).round().astype(np.uint8)).resize((448, 448), 4)
    assert side > 16
    for pixels in (np.asarray(resized) / 255, _of_page(drawn, scale)):
        error = np.abs(read_colors(means(pixels), scale) - values.numpy())
        assert error.max() < 0.01 * (scale.high - scale.low)


def _of_page(pixels: np.ndarray, scale: Scale) -> np.ndarray:
    import base64
    import io

    tag = image_tag(pixels, "map", scale=scale)
    data = base64.b64decode(tag.split("base64,")[1].split('"')[0])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) / 255


def test_the_largest_weights_are_told_apart() -> None:
    """The old pictures drew 0.03 and 0.30 in one color."""
    values = weights()
    strength = read_colors(means(heat_map(ground("black"), values)), Scale.of(values))
    np.testing.assert_allclose(strength.flat[:6], [0.1, 0.3, 0.2, 0.05, 0.04, 0.03], atol=2e-3)


def lightness(colors: np.ndarray) -> np.ndarray:
    """L* of sRGB colors (N, 3) within 0..1."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    return np.asarray(116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16)


def test_colors_are_monotone_in_lightness() -> None:
    steps = lightness(COLORS)
    assert np.diff(steps).min() > 0.1
    assert steps[0] < 12 and steps[-1] > 85


def test_colors_of_signed_maps_are_equally_light_on_both_sides_of_zero() -> None:
    below, above = glow(np.linspace(0, -1, 256)), glow(np.linspace(0, 1, 256))
    assert np.array_equal(below[0], above[0]) and np.allclose(above, COLORS)
    assert np.diff(lightness(below)).min() > 0.1
    np.testing.assert_allclose(lightness(below), lightness(above), atol=0.5)
    assert np.linalg.norm(below - above, axis=1)[40:].min() > 0.2, "the sign is seen"


def test_equal_sizes_are_equally_light_on_an_uneven_scale() -> None:
    scale = Scale(-1.0, 0.25)
    np.testing.assert_allclose(scale.fraction(np.array([-0.25, 0.0, 0.25])), [-0.25, 0, 0.25])
    assert scale.zero == 0.8 and Scale(0.0, 1.0).zero is None
    np.testing.assert_allclose(scale.bar(6), glow(np.array([-1, -0.75, -0.5, -0.25, 0, 0.25])))


def test_the_zero_of_a_bar_is_marked() -> None:
    panel = Panel("map", np.zeros((8, 8, 3)), Scale(-1.0, 1.0), ("a", ""))
    figure = panel_figure([[panel]])
    assert [text.get_text() for text in figure.texts if text.get_text() in ("-1", "0", "1")] == [
        "0", "-1", "1",
    ]  # fmt: skip
    box = figure.axes[0].get_position()
    (mark,) = [artist for artist in figure.artists if isinstance(artist, Line2D)]
    assert mark.get_xdata() == pytest.approx([(box.x0 + box.x1) / 2] * 2)
    bar = color_bar(Scale(-0.5, 1.5))
    assert '<b style="left:25.0%"></b>' in bar and "<span>-0.5</span>" in bar
    assert '<b style="left:40.0%">0</b>' in color_bar(Scale(-0.4, 0.6))
    middle = "rgb({} {} {})".format(*(glow(np.array(0.0)) * 255).round().astype(int))
    assert color_bar(Scale(-1.0, 1.0)).split(", ")[17] == middle
    assert "signed" not in color_bar(Scale(0.0, 1.0))


def test_the_image_shows_through() -> None:
    """Its details are there, though the mean of each patch is not touched."""
    flat = heat_map(ground("black"), weights())
    photo = heat_map(ground("photograph"), weights())
    assert 0.02 < np.abs(photo - flat).mean() < 0.1


def test_a_scale_cuts_nothing_off() -> None:
    assert Scale.of(torch.tensor([0.1, 0.3]), torch.tensor([0.2])) == (0.0, pytest.approx(0.3))
    assert Scale.of(torch.tensor([-0.5, 0.3])) == (-0.5, pytest.approx(0.3))
    assert Scale.of(torch.zeros(3)) == (0.0, 1.0)
    image = ground("black")
    with pytest.raises(ConfigError, match=r"weights from 0 to 1 are not within the scale from 0 t"):
        heat_map(image, torch.eye(2), scale=Scale(0.0, 0.5))
    with pytest.raises(ConfigError, match="NaN or infinite"):
        heat_map(image, torch.tensor([[0.0, math.nan]]))
    halved = heat_map(image, torch.eye(2), scale=Scale(0.0, 2.0))
    np.testing.assert_allclose(halved[0, 0], glow(np.array(0.5)), atol=1e-6)


def test_smoothing_is_a_choice() -> None:
    values = torch.eye(4)
    cells, smooth = (heat_map(ground("black"), values, smooth=choice) for choice in (False, True))
    assert len(np.unique(cells.reshape(-1, 3).round(6), axis=0)) == 2
    assert len(np.unique(smooth.reshape(-1, 3).round(6), axis=0)) > 100


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([0.1] * 4, ("largest 0.1, 25.0% of all", "entropy 2.00 of 2.00 bits")),
        ([0.5, 0, 0, 0], ("largest 0.5, 100.0% of all", "entropy 0.00 of 2.00 bits")),
        ([0.3, 0.1], ("largest 0.3, 75.0% of all", "entropy 0.81 of 1.00 bits")),
        ([0.0, 0.0], ("all weights are 0", "")),
        ([-0.25, 0.5], ("from -0.25 to 0.5; 0 is black", "")),
    ],
)
def test_a_map_in_numbers(values: list[float], lines: tuple[str, str]) -> None:
    assert map_numbers(torch.tensor(values)).lines == lines
