"""Augmentation: what it does, how strongly, and how often."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vitrail.data.functional import flip, mix, random_resized_crop, shift
from vitrail.data.image_augment import ImageAugment
from vitrail.data.transforms import AugmentConfig, TrainTransform
from vitrail.errors import ConfigError
from vitrail.preprocess import Preprocess


def augmented(images: Tensor, seed: int = 0, **settings: Any) -> Tensor:
    """Pixels on 0..1 after augmentation alone: no normalization, no crop, no flip."""
    channels, size = images.shape[1], tuple(images.shape[2:])
    preprocess = Preprocess(size, None, "bilinear", (0.0,) * channels, (1.0,) * channels)
    config = AugmentConfig(**{"crop": "none", "flip": 0.0, **settings})
    labels, sizes = torch.zeros(len(images)).long(), torch.tensor([size] * len(images))
    return TrainTransform(config, preprocess, 2)(images, labels, sizes, seed)[0]


def colored(count: int = 400, side: int = 8) -> Tensor:
    """Images of two muted colors, far from black and white, so that nothing is clipped."""
    images = torch.full((count, 3, side, side), 128, dtype=torch.uint8)
    images[:, 0, :, : side // 2] = 148
    images[:, 2, :, side // 2 :] = 108
    return images


class TestTrainTransform:
    def batch(self, size: int = 24, channels: int = 3) -> tuple[torch.Tensor, ...]:
        images = torch.randint(0, 256, (6, channels, size, size), dtype=torch.uint8)
        return images, torch.arange(6), torch.tensor([[size, size]] * 6)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_it_is_a_function_of_its_seed(self, channels: int) -> None:
        statistics = (0.5,) * channels, (0.5,) * channels
        preprocess = Preprocess((16, 16), None, "bilinear", *statistics)
        config = AugmentConfig(randaugment=2, jitter=0.2, erasing=0.5, mixup=0.3, cutmix=1.0)
        transform = TrainTransform(config, preprocess, 6)
        batch = self.batch(channels=channels)
        state = torch.get_rng_state()
        one, targets = transform(*batch, seed=3)
        again, _ = transform(*batch, seed=3)
        other, _ = transform(*batch, seed=4)
        assert torch.equal(one, again)
        assert not torch.equal(one, other)
        assert torch.equal(state, torch.get_rng_state()), "a transform moved the global generator"
        assert one.shape == (6, channels, 16, 16)
        torch.testing.assert_close(targets.sum(1), torch.ones(6))
        assert ((targets > 0).sum(1) <= 2).all()

    def test_all_off_is_the_plain_image(self) -> None:
        images, labels, sizes = self.batch(16)
        preprocess = Preprocess((16, 16), None)
        config = AugmentConfig(crop="none", flip=0.0)
        x, targets = TrainTransform(config, preprocess, 6)(images, labels, sizes, seed=0)
        torch.testing.assert_close(x, preprocess.normalise(images))
        assert torch.equal(targets, labels)

    def test_shifts_move_whole_images(self) -> None:
        images = torch.arange(1.0, 26).reshape(1, 1, 5, 5).expand(40, -1, -1, -1)
        moved = shift(images, 2, torch.Generator().manual_seed(0))
        centers = moved[:, 0, 2, 2]
        assert len(centers.unique()) > 10
        row, column = divmod(int(centers[0]) - 1, 5)
        down, right = 2 - row, 2 - column
        expected = torch.zeros(5, 5)
        for y in range(5):
            for x in range(5):
                if 0 <= y - down < 5 and 0 <= x - right < 5:
                    expected[y, x] = images[0, 0, y - down, x - right]
        assert torch.equal(moved[0, 0], expected)

    def test_crops_keep_the_originals_proportions(self) -> None:
        # A circle in a wide photograph, squeezed onto a square canvas, is round in the crop again.
        wide = torch.zeros(1, 1, 64, 64)
        y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        wide[0, 0] = ((((y - 31.5) / 1.0) ** 2 + ((x - 31.5) * 2.0) ** 2) < 20**2).float()
        sizes = torch.tensor([[100, 200]] * 64)
        generator = torch.Generator().manual_seed(0)
        crops = random_resized_crop(
            wide.expand(64, -1, -1, -1), sizes, (64, 64), (0.5, 0.5), (1.0, 1.0), generator
        )
        ratios = []
        for crop in crops[:, 0]:
            rows, columns = (crop > 0.5).any(1).nonzero(), (crop > 0.5).any(0).nonzero()
            inside = rows.numel() and rows.min() > 0 and rows.max() < 63
            if inside and columns.min() > 0 and columns.max() < 63:
                height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
                ratios.append(float(height / width))
        assert ratios
        assert np.mean(ratios) == pytest.approx(1.0, abs=0.06)

    def test_kornias_draws_are_not_ours_again(self) -> None:
        images = torch.full((400, 3, 8, 8), 255, dtype=torch.uint8)
        images[..., :4] = 128  # which half is bright tells whether it was flipped
        preprocess = Preprocess((8, 8), None, "nearest", (0.0,) * 3, (1.0,) * 3)
        config = AugmentConfig(crop="none", flip=0.5, erasing=0.5)
        sizes = torch.tensor([[8, 8]] * 400)
        x, _ = TrainTransform(config, preprocess, 2)(images, torch.zeros(400).long(), sizes, seed=1)
        erased = (x == 0).flatten(1).any(1)
        flipped = x[:, 0, :, 0].amax(1) > 0.9
        assert 0.4 < flipped[erased].float().mean() < 0.6

    def test_cutmix_weights_are_the_areas(self) -> None:
        images, labels, sizes = self.batch(16)
        images[:] = torch.arange(6, dtype=torch.uint8)[:, None, None, None] * 40
        statistics = (0.0,) * 3, (1 / 255,) * 3
        transform = TrainTransform(
            AugmentConfig(crop="none", flip=0, cutmix=1.0),
            Preprocess((16, 16), None, "nearest", *statistics),
            6,
        )
        x, targets = transform(images, labels, sizes, seed=5)
        own = (x[0, 0].round() == 0).float().mean()
        torch.testing.assert_close(own, targets[0, 0], atol=1e-6, rtol=0)

    def test_settings_out_of_range_are_refused(self) -> None:
        for setting in ({"flip": 1.5}, {"mixup": -1.0}, {"scale": (0.5, 0.2)}, {"crop": "centre"}):
            with pytest.raises(ConfigError):
                AugmentConfig(**setting)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="jitter=5 is not within 0 to 1"):
            AugmentConfig(jitter=5)

    def test_a_sample_is_not_shifted_out_of_sight(self) -> None:
        statistics = ((0.5,) * 3,) * 2
        preprocess = Preprocess((32, 32), None, "bilinear", *statistics)
        for padding in (99, 32):
            with pytest.raises(ConfigError, match=f"padding={padding} .* 32 pixels out of .*, 4"):
                TrainTransform(AugmentConfig(crop="padded", padding=padding), preprocess, 2)
        TrainTransform(AugmentConfig(crop="padded", padding=31), preprocess, 2)
        TrainTransform(AugmentConfig(crop="resized", padding=99), preprocess, 2)  # not read
        with pytest.raises(ConfigError, match="padding=99"):
            ImageAugment(AugmentConfig(crop="padded", padding=99), preprocess)


class TestCrops:
    """The x and y ramps of an image tell the width and the height of a crop of it."""

    def fractions(self, **config: Any) -> tuple[Tensor, Tensor]:
        x = torch.linspace(0, 1, 256)
        image = torch.stack([x.expand(256, -1), x[:, None].expand(-1, 256)])
        sizes = torch.full((300, 2), 256)
        crops = random_resized_crop(
            image.expand(300, -1, -1, -1), sizes, (64, 64), generator=torch.Generator(), **config
        )
        span = (crops.amax((2, 3)) - crops.amin((2, 3))) * 64 / 63
        return span[:, 0], span[:, 1]

    def test_the_ratio_is_width_by_height(self) -> None:
        width, height = self.fractions(scale=(0.08, 0.08), ratio=(2.0, 2.0))
        torch.testing.assert_close(width, torch.full_like(width, 0.4), atol=0.01, rtol=0)
        torch.testing.assert_close(height, torch.full_like(height, 0.2), atol=0.01, rtol=0)

    def test_areas_and_ratios_cover_their_ranges(self) -> None:
        width, height = self.fractions(scale=(0.1, 0.3), ratio=(0.5, 3.0))
        area, ratio = width * height, width / height
        assert 0.09 < area.min() < 0.12 and 0.28 < area.max() < 0.31
        assert 0.48 < ratio.min() < 0.55 and 2.7 < ratio.max() < 3.1
        assert ratio.log().mean() == pytest.approx(np.log(1.5) / 2, abs=0.07)  # log-uniform
        assert area.mean() == pytest.approx(0.2, abs=0.01)

    def test_a_crop_may_be_the_whole_image(self) -> None:
        width, height = self.fractions(scale=(1.0, 1.0), ratio=(1.0, 1.0))
        assert width.min() > 0.99 and height.min() > 0.99


class TestStrengths:
    """Each change happens as often and as strongly as it is set."""

    def rates(self, change: Any) -> float:
        return float(change.flatten(1).any(1).float().mean())

    @pytest.mark.parametrize(
        ("name", "more"),
        [
            ("jitter_probability", {"jitter": 0.3}),
            ("jitter_probability", {"hue": 0.3}),
            ("grayscale", {}),
            ("solarize", {}),
            ("erasing", {}),
            ("flip", {}),
        ],
    )
    @pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
    def test_probabilities(self, name: str, more: dict[str, float], probability: float) -> None:
        images = colored(side=32)
        changed = (augmented(images, **more, **{name: probability}) - images / 255).abs() > 1e-4
        assert self.rates(changed) == pytest.approx(probability, abs=0.07 * (0 < probability < 1))

    @pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
    def test_the_probability_of_a_blur(self, probability: float) -> None:
        images = colored(side=64)
        changed = (augmented(images, blur=probability) - images / 255).abs() > 1e-4
        visible = 0.93 * probability  # a standard deviation of less than a quarter changes nothing
        assert self.rates(changed) == pytest.approx(visible, abs=0.07 * (probability > 0))

    def test_jitter_changes_brightness_contrast_and_saturation(self) -> None:
        """Of muted colors: mean brightness, spread of brightness, distance from gray."""
        images = colored(600)
        x, before = augmented(images, jitter=0.4), images / 255
        luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]

        def brightness(y: Tensor) -> Tensor:
            return (y * luma).sum(1).mean((1, 2))

        def contrast(y: Tensor) -> Tensor:
            return (y * luma).sum(1).std((1, 2))

        def saturation(y: Tensor) -> Tensor:
            return (y.amax(1) - y.amin(1)).mean((1, 2)) / y.amax(1).mean((1, 2))

        ratios = brightness(x) / brightness(before)
        assert 0.55 < ratios.min() < 0.7 and 1.3 < ratios.max() < 1.45
        # Apart from what brightness does, contrast and saturation vary by their own factors.
        spread = contrast(x) / contrast(before) / ratios
        assert spread.min() < 0.75 and spread.max() > 1.25
        own = saturation(x) / saturation(before) / spread
        assert own.min() < 0.8 and own.max() > 1.2
        weak = augmented(images, jitter=0.1)
        assert (brightness(weak) / brightness(before)).max() < 1.11

    def test_the_parts_of_jitter_have_one_strength(self) -> None:
        config = AugmentConfig(crop="none", jitter=0.4, hue=0.1, jitter_probability=0.8)
        (op,) = TrainTransform(config, Preprocess((8, 8), None), 2).color_ops  # type: ignore[misc]
        assert (op.brightness, op.contrast, op.saturation, op.hue) == (0.4, 0.4, 0.4, 0.1)
        assert op.p == 0.8

    def test_hue_rotates_colors_only(self) -> None:
        images = torch.zeros(400, 3, 8, 8, dtype=torch.uint8)
        images[:, 0], images[:, 1] = 200, 50
        x = augmented(images, hue=0.1)
        torch.testing.assert_close(x.amax(1), torch.full_like(x[:, 0], 200 / 255))
        torch.testing.assert_close(x.amin(1), torch.zeros_like(x[:, 0]), atol=1e-4, rtol=0)
        assert (x[:, 2] > 0.05).any() and (x[:, 1] > 60 / 255).any()  # both directions

    @pytest.mark.parametrize(("side", "largest"), [(64, 2.0), (32, 1.0), (128, 2.0)])
    def test_the_standard_deviation_of_a_blur(self, side: int, largest: float) -> None:
        """DINO's: 0.1 to 2 pixels, less for small images."""
        images = torch.zeros(300, 1, side, side, dtype=torch.uint8)
        images[:, :, side // 2, side // 2] = 255
        x = augmented(images, blur=1.0)[:, 0]
        positions = torch.arange(side) - side // 2
        profile = x.sum(1) / x.sum((1, 2))[:, None]
        std = (profile * positions**2).sum(1).sqrt()
        assert std.max() < largest * 1.02 and std.max() > 0.9 * largest
        assert std.min() < 0.4
        assert std.mean() == pytest.approx((0.1 + largest) / 2, rel=0.2)

    def test_solarization_inverts_what_is_bright(self) -> None:
        images = torch.arange(0, 256, 4, dtype=torch.uint8).view(1, 1, 8, 8).repeat(5, 1, 1, 1)
        x, before = augmented(images, solarize=1.0), images / 255
        torch.testing.assert_close(x, torch.where(before < 0.5, before, 1 - before))

    def test_erased_rectangles(self) -> None:
        images = torch.full((400, 1, 64, 64), 255, dtype=torch.uint8)
        x = augmented(images, erasing=1.0)[:, 0] == 0
        area = x.float().mean((1, 2))
        height, width = x.any(2).sum(1), x.any(1).sum(1)
        assert torch.equal(height * width, x.sum((1, 2)))  # one rectangle each
        assert 0.01 < area.min() < 0.05 and 0.28 < area.max() < 0.36
        ratios = (height / width).log().abs()
        assert 0.8 < ratios.max() < np.log(3.3) + 0.3

    def test_randaugment(self) -> None:
        images = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8)

        def change(**settings: int) -> float:
            return float((augmented(images, **settings) - images / 255).abs().mean())

        assert change(randaugment=0) == 0
        assert 0 < change(randaugment=1, magnitude=9) < change(randaugment=4, magnitude=9)
        config = AugmentConfig(crop="none", randaugment=3, magnitude=17)
        (op,) = TrainTransform(config, Preprocess((8, 8), None), 2).color_ops  # type: ignore[misc]
        assert (op.n, op.m) == (3, 17)


class TestMixing:
    def weights(self, count: int = 400, **alphas: float) -> Tensor:
        x, labels = torch.zeros(2, 1, 32, 32), torch.tensor([0, 1])
        rows = []
        for seed in range(count):
            generator = torch.Generator().manual_seed(seed)
            rows.append(mix(x, labels, 2, generator=generator, **alphas)[1][0, 0])
        return torch.stack(rows)

    @pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
    def test_mixup_draws_from_a_beta_distribution(self, alpha: float) -> None:
        weights = self.weights(mixup=alpha, cutmix=0.0)
        assert weights.mean() == pytest.approx(0.5, abs=0.05)
        assert weights.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.2)

    def test_mixup_mixes_images_as_labels(self) -> None:
        x = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4), torch.full((1, 4, 4), 2.0)])
        generator = torch.Generator().manual_seed(3)
        mixed, targets = mix(
            x, torch.tensor([0, 1, 2]), 3, mixup=1.0, cutmix=0.0, generator=generator
        )
        assert 0 < targets[0, 0] < 1 and targets[1, 1] == 1
        torch.testing.assert_close(mixed[0, 0, 0, 0], 2 * targets[0, 2])
        torch.testing.assert_close(mixed[2, 0, 0, 0], 2 * targets[2, 2])

    def test_cutmix_pastes_a_rectangle_of_the_other_image(self) -> None:
        x = torch.stack([torch.zeros(1, 16, 16), torch.ones(1, 16, 16)])
        areas = []
        for seed in range(50):
            generator = torch.Generator().manual_seed(seed)
            mixed, targets = mix(
                x, torch.tensor([0, 1]), 2, mixup=0.0, cutmix=1.0, generator=generator
            )
            assert set(mixed.unique().tolist()) <= {0.0, 1.0}
            pasted = mixed[0, 0] == 1
            assert pasted.any(0).sum() * pasted.any(1).sum() == pasted.sum()
            torch.testing.assert_close(targets[0, 1], pasted.float().mean())
            areas.append(float(pasted.float().mean()))
        assert min(areas) < 0.1 and max(areas) > 0.6

    def test_cutmix_cuts_the_area_that_it_draws(self) -> None:
        """A box of area 1 - λ whose center is anywhere: (s - s²/4)² of it is inside, s² = 1 - λ."""
        areas = 1 - self.weights(1000, mixup=0.0, cutmix=1.0)
        assert areas.mean() == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.03)

    def test_with_both_a_coin_decides(self) -> None:
        x = torch.stack([torch.zeros(1, 16, 16), torch.ones(1, 16, 16)])
        cut = 0
        for seed in range(300):
            generator = torch.Generator().manual_seed(seed)
            mixed, _ = mix(x, torch.tensor([0, 1]), 2, mixup=1.0, cutmix=1.0, generator=generator)
            cut += set(mixed.unique().tolist()) <= {0.0, 1.0}
        assert 110 < cut < 190

    def test_mixing_draws_nothing_from_the_global_generator(self) -> None:
        state = torch.get_rng_state()
        self.weights(3, mixup=1.0, cutmix=1.0)
        assert torch.equal(state, torch.get_rng_state())


class TestOtherSamples:
    """Clips, volumes and signals."""

    def test_they_are_flipped_along_their_last_axis(self) -> None:
        clips = torch.arange(24.0).view(1, 1, 2, 3, 4)
        assert torch.equal(flip(clips, 1.0, torch.Generator()), clips.flip(-1))

    @pytest.mark.parametrize("size", [(4, 8, 8), (40,)])
    def test_a_transform_of_them(self, size: tuple[int, ...]) -> None:
        preprocess = Preprocess.for_size(size, 2)
        transform = TrainTransform(AugmentConfig(crop="none", flip=0, mixup=0.5), preprocess, 3)
        samples = torch.randint(0, 256, (4, 2, *size), dtype=torch.uint8)
        sizes = torch.tensor([size] * 4)
        x, labels = transform(samples, torch.arange(4) % 3, sizes, seed=0)
        assert x.shape == samples.shape and labels.shape == (4, 3)
        plain = TrainTransform(AugmentConfig(crop="none", flip=0), preprocess, 3)
        y, _ = plain(samples, torch.arange(4) % 3, sizes, seed=0)
        torch.testing.assert_close(y, (samples / 255 - 0.5) / 0.5)
        torch.testing.assert_close(y, preprocess.normalise(samples))

    @pytest.mark.parametrize("setting", [{"jitter": 0.4}, {"blur": 0.5}, {"cutmix": 1.0}])
    def test_what_is_for_images_only(self, setting: dict[str, Any]) -> None:
        config = AugmentConfig(**{"crop": "none", **setting})
        name = next(iter(setting))
        with pytest.raises(ConfigError, match=f"^{name}=.* is for images, and .* have 1 axes"):
            TrainTransform(config, Preprocess.for_size((40,), 1), 2)


def test_saturation_may_differ_from_contrast() -> None:
    """As in DINO's recipe; gray images have none."""
    images = torch.randint(0, 255, (64, 3, 8, 8), dtype=torch.uint8)
    gray = images[:, :1].expand(-1, 3, -1, -1)
    plain = {"crop": "none", "flip": 0.0}
    more = {**plain, "saturation": 0.9}
    assert (augmented(images, **more) - augmented(images, **plain)).abs().max() > 0.1
    torch.testing.assert_close(augmented(gray, **more), augmented(gray, **plain), atol=1e-4, rtol=0)
    jitter = {**plain, "jitter": 0.4}
    same = augmented(images, **jitter, saturation=0.4)
    assert torch.equal(augmented(images, **jitter), same)
    assert not torch.equal(augmented(images, **jitter, saturation=0.0), same)
    with pytest.raises(ConfigError, match="saturation=-1 is not within 0 to 1"):
        AugmentConfig(saturation=-1)
