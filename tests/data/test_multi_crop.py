"""Several crops of an image: which sizes, which parts, which colors, and from the seed alone."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail.data.transforms import AugmentConfig, MultiCrop, MultiCropConfig, TrainTransform
from vitrail.errors import ConfigError
from vitrail.preprocess import Preprocess

PLAIN = {"blur": (0.0, 0.0, 0.0), "solarize": (0.0, 0.0, 0.0)}


def preprocess(size: tuple[int, int] = (28, 28), channels: int = 1) -> Preprocess:
    return Preprocess(size, None, "bilinear", (0.0,) * channels, (1.0,) * channels)


def batch(images: int = 4, channels: int = 1, side: int = 28) -> tuple[Tensor, Tensor]:
    pixels = torch.randint(0, 256, (images, channels, side, side), dtype=torch.uint8)
    return pixels, torch.full((images, 2), side)


def ramp(images: int, side: int = 64) -> tuple[Tensor, Tensor]:
    """Brightness grows with x, so that a crop's range of it tells how wide the crop is."""
    x = torch.linspace(0, 255, side).round().to(torch.uint8)
    pixels = x.expand(images, 1, side, side)
    return pixels, torch.full((images, 2), side)


@pytest.mark.parametrize("channels", [1, 3])
def test_crops_are_a_function_of_the_seed(channels: int) -> None:
    augment = AugmentConfig(jitter=0.4, hue=0.1, jitter_probability=0.8, grayscale=0.2)
    make = MultiCrop(augment, MultiCropConfig(local=3), preprocess(channels=channels), (7, 7))
    images, sizes = batch(channels=channels)
    before, state = images.clone(), torch.get_rng_state()
    one = make(images, sizes, seed=3)
    again = make(images, sizes, seed=3)
    other = make(images, sizes, seed=4)
    assert [tuple(x.shape[1:]) for x in one] == [(channels, 28, 28)] * 2 + [(channels, 14, 14)] * 3
    assert all(map(torch.equal, one, again)) and not any(map(torch.equal, one, other))
    assert torch.equal(before, images)
    assert torch.equal(state, torch.get_rng_state()), "crops moved the global generator"
    different = [(a - b).abs().max() for a, b in itertools.pairwise(one[2:])]
    assert min(different) > 0.1 and (one[0] - one[1]).abs().max() > 0.1


def test_crops_are_parts_of_the_size_asked_for() -> None:
    config = MultiCropConfig(2, 16, (0.49, 0.49), (0.09, 0.09), **PLAIN)
    make = MultiCrop(AugmentConfig(ratio=(1.0, 1.0)), config, preprocess((32, 32)))
    crops = make(*ramp(200), seed=0)
    for crop, side_fraction in zip(crops, (0.7, 0.7, 0.3, 0.3), strict=True):
        side = crop.shape[-1]
        width = (crop.amax((1, 2, 3)) - crop.amin((1, 2, 3))) * side / (side - 1)
        assert width.mean() == pytest.approx(side_fraction, abs=0.02)
        flipped = (crop[:, 0, 0, 0] > crop[:, 0, 0, -1]).float().mean()
        assert 0.4 < flipped < 0.6
        left = crop.amin((1, 2, 3))
        assert left.max() - left.min() > 0.8 * (1 - side_fraction), "crops come from everywhere"


@pytest.mark.parametrize(
    ("size", "cell", "setting", "local"),
    [
        ((224, 224), (16, 16), None, (96, 96)),
        ((224, 224), (14, 14), None, (98, 98)),
        ((28, 28), (7, 7), None, (14, 14)),
        ((28, 28), (4, 4), None, (12, 12)),
        ((32, 64), (32, 32), None, (32, 32)),
        ((28, 28), (7, 7), 9, (9, 9)),
        ((28, 28), (7, 7), (7, 14), (7, 14)),
    ],
)
def test_the_size_of_local_crops(size: Any, cell: Any, setting: Any, local: Any) -> None:
    make = MultiCrop(
        AugmentConfig(), MultiCropConfig(local=1, local_size=setting), preprocess(size), cell
    )
    crops = make(*batch(2), seed=0)
    assert [tuple(x.shape[2:]) for x in crops] == [size, size, local]


def test_no_local_crops() -> None:
    crops = MultiCrop(AugmentConfig(), MultiCropConfig(local=0), preprocess())(*batch(), seed=0)
    assert len(crops) == 2


def test_each_kind_has_its_own_colours() -> None:
    """A checkerboard that is blurred loses contrast; a bright image that is solarised is dark."""
    sides = torch.arange(64)
    board = ((sides[:, None] + sides) % 2 * 255).to(torch.uint8).expand(40, 1, 64, 64)
    whole = {"global_scale": (1.0, 1.0), "local_scale": (1.0, 1.0), "local": 1, "local_size": 64}
    augment, sizes = AugmentConfig(ratio=(1.0, 1.0)), torch.full((40, 2), 64)

    def made(images: Tensor, **settings: Any) -> tuple[Tensor, ...]:
        config = MultiCropConfig(**whole, **{**PLAIN, **settings})
        make = MultiCrop(augment, config, preprocess((64, 64)))
        return make(images, sizes, seed=0)

    for changed in range(3):
        only = tuple(float(kind == changed) for kind in range(3))
        contrast = [x.std((1, 2, 3)) for x in made(board, blur=only)]
        bright = made(torch.full_like(board, 230), solarize=only)
        for kind in range(3):
            blurred = (contrast[kind] < 0.45).float().mean()  # a deviation of 0.3 pixels or more
            assert blurred > 0.7 if kind == changed else blurred == 0
            expected = 25 / 255 if kind == changed else 230 / 255
            torch.testing.assert_close(bright[kind], torch.full_like(bright[kind], expected))
    mixed = made(board, blur=(0.5, 0.5, 0.5))[0].std((1, 2, 3)) < 0.45
    assert 0.2 < mixed.float().mean() < 0.65


def test_single_crops_take_the_same_color_changes() -> None:
    images = torch.full((60, 3, 8, 8), 230, dtype=torch.uint8)
    images[:, 1:] = 30
    raw = images, torch.zeros(60).long(), torch.full((60, 2), 8)
    plain = {"crop": "none", "flip": 0.0}

    def fraction(changed: Tensor) -> float:
        return float(changed.flatten(1).any(1).float().mean())

    for settings in (
        {"grayscale": 0.5},
        {"solarize": 0.5},
        {"hue": 0.3, "jitter_probability": 0.5},
    ):
        transform = TrainTransform(AugmentConfig(**plain, **settings), preprocess((8, 8), 3), 1)
        x, _ = transform(*raw, seed=0)
        assert 0.25 < fraction((x - images / 255).abs() > 1e-3) < 0.75, settings
    grey, _ = TrainTransform(AugmentConfig(**plain, grayscale=1.0), preprocess((8, 8), 3), 1)(
        *raw, 0
    )
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    assert fraction(grey[:, 0] - images[:, 0] / 255) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"local": -1},
        {"local_size": 0},
        {"local_size": (8, 0)},
        {"global_scale": (0.5, 0.4)},
        {"local_scale": (0.0, 0.4)},
        {"blur": (0.0, 1.5, 0.0)},
        {"solarize": (0.0, -0.1, 0.0)},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(settings))}="):
        MultiCropConfig(**settings)


@pytest.mark.parametrize(
    "settings", [{"hue": 0.6}, {"jitter_probability": 2.0}, {"grayscale": -1.0}, {"blur": 1.1}]
)
def test_colours_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(settings))}="):
        AugmentConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": "padded"}, "set it to resized"),
        ({"mixup": 0.2}, "set it to 0"),
        ({"cutmix": 1.0}, "set it to 0"),
        ({"blur": 0.5}, "set crops.blur"),
        ({"solarize": 0.5}, "set crops.solarize"),
    ],
)
def test_what_several_crops_cannot_have(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MultiCrop(AugmentConfig(**settings), MultiCropConfig(), preprocess())
