"""Augmentation image by image: what it does, how often, and the same for any number of workers."""

import io
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.data import pixel_moves
from vitrail.data import pixel_ops as ops
from vitrail.data.augment_config import POLICIES, AugmentConfig
from vitrail.data.folder_dataset import FolderDataset
from vitrail.data.image_augment import ImageAugment, batch_part, random_box
from vitrail.data.image_file import ImageFile
from vitrail.data.loader import Loader, default_workers
from vitrail.data.own_transforms import own_image_transforms, register_image_transform
from vitrail.data.policies import RANDAUGMENT, WIDE, get_policy, randaugment
from vitrail.data.transforms import TrainTransform
from vitrail.errors import ConfigError
from vitrail.preprocess import Preprocess

PLAIN = {"crop": "none", "flip": 0.0}


def augment(size: tuple[int, int] = (16, 16), channels: int = 3, **settings: Any) -> ImageAugment:
    statistics = (0.5,) * channels, (0.5,) * channels
    return ImageAugment(AugmentConfig(**settings), Preprocess(size, None, "bilinear", *statistics))


def noise(height: int = 16, width: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8)


class TestImageAugment:
    def test_it_is_a_function_of_its_seed(self) -> None:
        settings: dict[str, Any] = {
            "randaugment": 2, "jitter": 0.4, "hue": 0.1, "grayscale": 0.2, "blur": 0.5,
            "solarize": 0.2, "erasing": 0.3, "vertical_flip": 0.5, "rotation": 20,
        }  # fmt: skip
        for channels in (1, 3):
            transform, image = augment(channels=channels, **settings), noise(30, 20, channels)
            copy = pickle.loads(pickle.dumps(transform))  # for processes that are not forked
            results = [transform(image, seed) for seed in range(8)]
            assert all(r.shape == (channels, 16, 16) and r.dtype == torch.uint8 for r in results)
            assert all(torch.equal(r, copy(image, seed)) for seed, r in enumerate(results))
            assert len({r.numpy().tobytes() for r in results}) == 8

    def test_all_off_is_the_plain_image(self) -> None:
        image = noise()
        assert torch.equal(augment(**PLAIN)(image, 0), image)
        assert augment(**PLAIN)(noise(20, 40), 0).shape == (3, 16, 16)

    def test_flips_are_as_frequent_as_they_should_be(self) -> None:
        image = torch.zeros(3, 16, 16, dtype=torch.uint8)
        image[:, :8, :8] = 255
        corners = [
            augment(crop="none", flip=0.3, vertical_flip=0.6)(image, seed)[
                0, [0, 0, -1], [0, -1, 0]
            ]
            for seed in range(400)
        ]
        right = np.mean([c.tolist() == [0, 255, 0] for c in corners])
        down = np.mean([c.tolist() == [0, 0, 255] for c in corners])
        assert right == pytest.approx(0.3 * 0.4, abs=0.05)
        assert down == pytest.approx(0.7 * 0.6, abs=0.06)

    def test_boxes_have_the_areas_and_ratios_that_are_asked_for(self) -> None:
        rng = random.Random(0)
        boxes = [random_box(400, 400, (0.1, 0.3), (0.5, 3.0), rng) for _ in range(400)]
        areas = np.array([h * w / 160_000 for _, _, h, w in boxes])
        ratios = np.array([w / h for _, _, h, w in boxes])
        assert 0.095 < areas.min() < 0.12 and 0.28 < areas.max() < 0.305
        assert 0.48 < ratios.min() < 0.56 and 2.5 < ratios.max() < 3.1
        assert all(0 <= t <= 400 - h and 0 <= x <= 400 - w for t, x, h, w in boxes)
        assert min(b[0] for b in boxes) == 0 or np.std([b[0] for b in boxes]) > 50

    def test_crops_are_antialiased(self) -> None:
        stripes = torch.zeros(3, 256, 256, dtype=torch.uint8)
        stripes[..., ::2] = 255
        crop = augment(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)(stripes, 0)
        assert (crop.int() - 128).abs().max() <= 4

    def test_no_pixel_is_shared_with_the_image_or_the_next_crop(self) -> None:
        image = noise(16, 16, 1)
        before = image.clone()
        augment(channels=1, crop="none", flip=0.0, erasing=1.0)(image, 0)
        assert torch.equal(image, before)
        files = []
        for color in ("black", "white"):
            file = io.BytesIO()
            Image.new("RGB", (20, 16), color).save(file, "JPEG")
            files.append(ImageFile(file.getvalue(), 3, color))
        black, white = (augment(flip=0.0)(file, 0) for file in files)
        assert black.max() == 0 and white.min() == 255

    def test_a_camera_s_jpeg_gives_the_crop_of_all_its_pixels(self) -> None:
        y, x = np.mgrid[:640, :960]
        smooth = np.stack([x / 4, y / 3, (x + y) / 8], -1).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(smooth).save(file, "JPEG", quality=95)
        whole = torch.from_numpy(smooth).permute(2, 0, 1)
        for seed in range(6):
            transform = augment((24, 32), scale=(0.2, 1.0))
            from_file = transform(ImageFile(file.getvalue(), 3, "x"), seed).int()
            assert (from_file - transform(whole, seed).int()).abs().max() <= 6

    def test_other_channels_are_cropped_and_nothing_else(self) -> None:
        assert augment(channels=5)(noise(30, 30, 5), 0).shape == (5, 16, 16)
        with pytest.raises(ConfigError, match="1 or 3 channels, and these images have 5"):
            augment(channels=5, jitter=0.4)

    @pytest.mark.parametrize("channels", [1, 2, 3, 5, 200])
    def test_flips_and_crops_of_any_number_of_channels(self, channels: int) -> None:
        image = noise(16, 16, channels)
        whole = augment(channels=channels, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=1.0)
        assert torch.equal(whole(image, 0), image.flip(-1))
        upright = augment(channels=channels, crop="none", flip=0.0, vertical_flip=1.0)
        assert torch.equal(upright(image, 0), image.flip(-2))

    def test_batches_are_only_mixed_after_it(self) -> None:
        config = AugmentConfig(randaugment=2, mixup=0.8, cutmix=1.0)
        rest = batch_part(config)
        assert (rest.randaugment, rest.crop, rest.flip) == (0, "none", 0.0)
        assert (rest.mixup, rest.cutmix) == (0.8, 1.0)
        preprocess, images = Preprocess((16, 16), None), torch.stack([noise(), noise()])
        labels, sizes = torch.tensor([0, 1]), torch.full((2, 2), 16)
        plain = TrainTransform(batch_part(AugmentConfig()), preprocess, 2)
        x, _ = plain(images, labels, sizes, 0)
        torch.testing.assert_close(x, preprocess.normalise(images))

    def test_settings_that_contradict_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="policy='augmix' and randaugment=2"):
            AugmentConfig(policy="augmix", randaugment=2)
        with pytest.raises(ConfigError, match="policy='augmixx'"):
            AugmentConfig(policy="augmixx")  # type: ignore[arg-type]
        for setting in ({"rotation": 200}, {"vertical_flip": 2}):
            with pytest.raises(ConfigError):
                AugmentConfig(**setting)  # type: ignore[arg-type]


class TestOperations:
    def test_they_are_pillow_s(self) -> None:
        from PIL import ImageEnhance, ImageOps

        pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        image = Image.fromarray(pixels)
        for ours, theirs, tolerance in (
            (ops.brightness(pixels, 1.4), ImageEnhance.Brightness(image).enhance(1.4), 1),
            (ops.contrast(pixels, 0.3), ImageEnhance.Contrast(image).enhance(0.3), 1),
            (ops.saturation(pixels, 1.7), ImageEnhance.Color(image).enhance(1.7), 2),
            (ops.posterize(pixels, 3), ImageOps.posterize(image, 3), 0),
            (ops.solarize(pixels, 100), ImageOps.solarize(image, 100), 0),
            (ops.autocontrast(pixels), ImageOps.autocontrast(image), 1),
            (ops.grayscale(pixels), image.convert("L").convert("RGB"), 1),
        ):
            assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= tolerance
        inner = ops.sharpness(pixels, 1.9)[1:-1, 1:-1].astype(int)
        expected = np.asarray(ImageEnhance.Sharpness(image).enhance(1.9))[1:-1, 1:-1]
        assert np.abs(inner - expected).max() <= 2

    @pytest.mark.parametrize("side", [20, 32, 40, 50, 60, 64, 72, 80, 90])
    def test_what_shrinks_is_smoothed_as_in_pillow(self, side: int) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (side, 2 * side, 3), np.uint8)
        ours = ops.resize_pixels(pixels, (32, 64)).astype(int)
        theirs = Image.fromarray(pixels).resize((64, 32), Image.Resampling.BILINEAR)
        assert np.std(ours) == pytest.approx(np.std(np.asarray(theirs)), rel=0.1)
        assert np.abs(ours - np.asarray(theirs)).mean() < 9

    def test_a_flat_histogram_comes_out_of_equalize(self) -> None:
        dark = np.random.default_rng(0).integers(0, 64, (64, 64, 3), np.uint8)
        counts = np.histogram(ops.equalize(dark), 4, (0, 256))[0]
        assert counts.min() > 0.8 * counts.max()

    def test_moves_move(self) -> None:
        dot = np.zeros((9, 9, 1), np.uint8)
        dot[4, 2] = 255
        for moved, place in (
            (pixel_moves.translate_x(dot, 3), (4, 5)), (pixel_moves.translate_y(dot, 3), (7, 2)),
            (pixel_moves.rotate_pixels(dot, 90), (6, 4)), (pixel_moves.shear_x(dot, 1.0), (4, 2)),
            (pixel_moves.shear_y(dot, 1.0), (6, 2)),
        ):  # fmt: skip
            bright = np.argwhere(moved[..., 0] == 255)
            assert bright.tolist() == [list(place)]


class TestPolicies:
    @pytest.mark.parametrize("name", POLICIES)
    def test_they_change_most_images(self, name: Any) -> None:
        policy, image = get_policy(name), noise(32, 32).permute(1, 2, 0).numpy()
        results = [policy(image, random.Random(seed)) for seed in range(60)]
        assert all(r.shape == image.shape and r.dtype == np.uint8 for r in results)
        assert np.mean([not np.array_equal(r, image) for r in results]) > 0.7
        assert np.array_equal(results[7], policy(image, random.Random(7)))

    def test_randaugment_grows_with_its_magnitude(self) -> None:
        image = noise(32, 32).permute(1, 2, 0).numpy()

        def change(magnitude: int) -> float:
            results = (randaugment(image, random.Random(s), 1, magnitude) for s in range(100))
            return float(np.mean([np.abs(r.astype(int) - image).mean() for r in results]))

        assert change(2) < change(10) < change(28)
        assert len(RANDAUGMENT) == len(WIDE) == 14

    def test_3_augment_takes_each_third(self) -> None:
        image = noise(32, 32).permute(1, 2, 0).numpy()
        results = [get_policy("3-augment")(image, random.Random(s)) for s in range(300)]
        gray = np.mean([(r[..., 0] == r[..., 1]).all() for r in results])
        solarized = np.mean([np.array_equal(r, ops.solarize(image, 128)) for r in results])
        assert gray == pytest.approx(1 / 3, abs=0.08) and solarized == pytest.approx(
            1 / 3, abs=0.08
        )


class TestOwnFunctions:
    def test_they_see_the_pixels_and_a_seed(self) -> None:
        seeds = []

        @register_image_transform("darker")
        def darker(image: Any, seed: int, amount: int = 5) -> Any:
            seeds.append(seed)
            return np.maximum(image, amount) - np.uint8(amount)

        own = own_image_transforms({"darker": {"amount": 9}})
        config, preprocess = AugmentConfig(**PLAIN), Preprocess((16, 16), None)  # type: ignore[arg-type]
        image = noise()
        result = ImageAugment(config, preprocess, own)(image, 3)
        assert torch.equal(result.int(), (image.int() - 9).clamp(min=0))
        ImageAugment(config, preprocess, own)(image, 3)
        assert seeds[0] == seeds[1]

    def test_what_changes_the_shape_or_the_type_is_named(self) -> None:
        @register_image_transform("half")
        def half(image: Any, seed: int) -> Any:
            return image[::2]

        [own] = own_image_transforms({"half": {}})
        with pytest.raises(
            ConfigError, match=r"'half' makes uint8 \(4, 8, 3\) of uint8 \(8, 8, 3\)"
        ):
            own(np.zeros((8, 8, 3), np.uint8), 0)


class TestLoader:
    @pytest.fixture
    def dataset(self, tmp_path: Path) -> FolderDataset:
        for i in range(10):
            pixels = np.random.default_rng(i).integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{i}.jpg")
        return FolderDataset(tmp_path, sorted(tmp_path.iterdir()), [0] * 10, ["a"])

    def loader(self, dataset: FolderDataset, **options: Any) -> Loader:
        transform = augment(randaugment=1)
        return Loader(dataset, 4, lambda x: x, augment=transform, seed=5, **options)

    def test_any_number_of_workers_and_any_start_give_the_same(
        self, dataset: FolderDataset
    ) -> None:
        alone, two = self.loader(dataset), self.loader(dataset, workers=2)
        for epoch in (0, 1):
            one, other = list(alone.epoch(epoch)), list(two.epoch(epoch))
            assert len(one) == 3
            assert all(torch.equal(a.images, b.images) for a, b in zip(one, other, strict=True))
        late = list(two.epoch(0, start=1))
        first = list(alone.epoch(0))
        assert torch.equal(late[0].images, first[1].images)
        assert first[0].sizes.tolist() == [[20, 30]] * 4

    def test_epochs_and_copies_differ(self, dataset: FolderDataset) -> None:
        loader = self.loader(dataset, repeats=2)
        batch, later = next(loader.epoch(0)), next(loader.epoch(1))
        assert batch.indices[0] == batch.indices[1]
        assert not torch.equal(batch.images[0], batch.images[1])
        same = (later.indices == batch.indices[0]).nonzero()
        assert not len(same) or not torch.equal(later.images[same[0, 0]], batch.images[0])

    def test_shards_are_parts_of_one_batch(self, dataset: FolderDataset) -> None:
        whole = next(self.loader(dataset).epoch(0)).images
        parts = [next(self.loader(dataset, shard=(rank, 2)).epoch(0)).images for rank in (0, 1)]
        assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)

    def test_workers_stay_between_epochs(self, dataset: FolderDataset) -> None:
        loader = self.loader(dataset, workers=1)
        list(loader.epoch(0))
        [before] = loader._reader._iterator._workers  # type: ignore[union-attr]
        next(loader.epoch(1))  # left in its middle
        list(loader.epoch(2))
        [after] = loader._reader._iterator._workers  # type: ignore[union-attr]
        assert before.pid == after.pid

    @pytest.mark.parametrize("workers", [0, 1])
    def test_errors_of_workers_are_one_line(self, dataset: FolderDataset, workers: int) -> None:
        dataset.files[3].write_bytes(b"")
        with pytest.raises(Exception, match=r"^\S*3.jpg: the file is empty\.$"):
            list(self.loader(dataset, workers=workers).epoch(0))

    def test_the_default_number_of_workers(
        self, dataset: FolderDataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert default_workers(dataset) == 0
        many = dataset.subset([0] * 1000)
        monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
        monkeypatch.setattr("os.sched_getaffinity", lambda _: range(12))
        assert (default_workers(many), default_workers(many, processes=3)) == (6, 2)
        monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
        assert (default_workers(many), default_workers(many, processes=4)) == (8, 2)
        monkeypatch.setattr("os.sched_getaffinity", lambda _: range(1))
        assert default_workers(many) == 1
