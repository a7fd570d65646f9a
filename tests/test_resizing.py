"""Resizing: as Pillow does it, at bounded memory, by crop, pad or squeeze."""

import resource
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vitrail.resizing
from vitrail.errors import ConfigError, VitrailError
from vitrail.preprocess import Preprocess
from vitrail.resizing import center_crop, padded, resize


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (75, 100, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((300, 225), Image.Resampling.BICUBIC))


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


class TestResize:
    @pytest.mark.parametrize("filter_name", ["bilinear", "bicubic"])
    @pytest.mark.parametrize("size", [(64, 64), (100, 230), (300, 500)])
    def test_pixels_are_pillow_s(
        self, photo: np.ndarray, filter_name: str, size: tuple[int, int]
    ) -> None:
        method = Image.Resampling[filter_name.upper()]
        expected = np.asarray(Image.fromarray(photo).resize(size[::-1], method)).astype(int)
        ours = resize(tensor(photo), size, filter_name).permute(1, 2, 0).numpy()
        assert np.abs(ours - expected).max() <= 1

    def test_of_many_channels(self, photo: np.ndarray) -> None:
        many = tensor(photo).repeat(3, 1, 1)
        assert torch.equal(
            resize(many, (50, 60), "bicubic")[6:], resize(many[:3], (50, 60), "bicubic")
        )


class TestCenterCrop:
    def test_of_a_thin_image_is_what_the_whole_one_gives(
        self, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for image in (tensor(photo)[:, :20, :299], tensor(photo)[:, :, 30:41]):
            cut = center_crop(image, (32, 32), 36, "bicubic")
            with monkeypatch.context() as patch:
                patch.setattr(vitrail.resizing, "THIN", float("inf"))
                whole = center_crop(image, (32, 32), 36, "bicubic")
            assert (cut.int() - whole.int()).abs().max() <= 4

    @pytest.mark.parametrize("shape", [(1, 20000), (6000, 1), (2, 2000), (10, 1000), (1500, 1)])
    def test_memory_is_bounded(self, shape: tuple[int, int]) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
        assert Preprocess().crop(image).shape == (3, 224, 224)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB


class TestWays:
    def image(self) -> torch.Tensor:
        image = torch.zeros(3, 20, 40, dtype=torch.uint8)
        image[0, :, :10], image[1, :, 10:30], image[2, :, 30:] = 255, 255, 255
        return image

    def test_they_keep_what_they_say(self) -> None:
        preprocess = Preprocess((16, 16), 16, "nearest")
        crop = preprocess.with_resize("crop").crop(self.image())
        squeeze = preprocess.with_resize("squeeze").crop(self.image())
        pad = preprocess.with_resize("pad").crop(self.image())
        assert (crop[1] == 255).all()  # the middle only
        assert [(squeeze[c] == 255).float().mean().item() for c in range(3)] == [0.25, 0.5, 0.25]
        assert pad[:, 3].unique(dim=1).flatten().tolist() == [124, 116, 104]  # ImageNet's mean
        assert (pad[0, 4:12, :4] == 255).all() and (pad[2, 4:12, 12:] == 255).all()
        assert preprocess.normalise(pad[None])[0, :, 0].abs().max() < 0.01

    def test_they_are_kept_with_the_model(self) -> None:
        for way in ("crop", "pad", "squeeze"):
            preprocess = Preprocess((16, 16), None).with_resize(way)  # type: ignore[arg-type]
            assert Preprocess.from_dict(preprocess.to_dict()) == preprocess
            assert preprocess.at((32, 32)).pad == (way == "pad")
        assert Preprocess((28, 28), None).with_resize("crop").resize == 32

    def test_contradictions_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="pad=True"):
            Preprocess((16, 16), 20, pad=True)
        with pytest.raises(ConfigError, match="resize='stretch'"):
            Preprocess((16, 16), 20).with_resize("stretch")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="white=0"):
            Preprocess(white=0)

    @pytest.mark.parametrize(
        ("call", "line"),
        [
            (lambda p: Preprocess(size=32), "size=32 is not a tuple"),  # type: ignore[arg-type]
            (lambda p: Preprocess(size=()), "give one to three sides"),
            (lambda p: Preprocess(resize="36"), "resize='36' is not"),  # type: ignore[arg-type]
            (lambda p: Preprocess(resize=(8, 8)), r"resize=\(8, 8\) is less than the crop 224"),
            (lambda p: Preprocess(white="255"), "white='255' is not"),  # type: ignore[arg-type]
            (lambda p: Preprocess(crop=3), "has no keyword 'crop'"),  # type: ignore[call-arg]
            (lambda p: Preprocess(resize=None, pad=True, squeeze=True), "set one"),
            (lambda p: Preprocess.from_dict({"foo": 1}), "has no keyword 'foo'"),
            (lambda p: Preprocess.from_dict([1]), r"values=\[1\] is not"),
            (lambda p: Preprocess.from_timm({"input_size": (32, 32)}), "input_size="),
            (lambda p: Preprocess.for_size((32, 32), 0), "channels=0 is not"),
            (lambda p: p.at(48), "size=48 is not a tuple"),
            (lambda p: p.normalise(torch.zeros(1, 4, 2, 2)), "no batch of images with 3 channels"),
            (lambda p: p.undo("a"), "'a' is no batch of images with 3 channels"),
            *(
                (lambda p, image=image: p([image]), "is no image: give a path, a Pillow image")
                for image in (None, b"abc", np.zeros((9, 9, 3), np.uint8), {"image": 1}, [])
            ),
        ],
    )
    def test_what_is_no_image_and_no_setting_is_one_line(self, call: Any, line: str) -> None:
        with pytest.raises(VitrailError, match=line) as caught:
            call(Preprocess((16, 16), 20))
        assert "\n" not in str(caught.value)

    def test_a_thin_image_is_padded_too(self) -> None:
        assert padded(self.image()[:, :1], (8, 8), (8, 8), "bicubic", (0.0,) * 3).shape == (3, 8, 8)

    def test_white_is_read_with_the_model_s(self, tmp_path) -> None:  # type: ignore[no-untyped-def]
        path = tmp_path / "x.png"
        Image.fromarray(np.full((9, 9), 4095, np.uint16)).save(path)
        assert (Preprocess((8, 8), None, white=4095).crop(path) == 255).all()
        assert (Preprocess((8, 8), None).crop(path) == 16).all()
