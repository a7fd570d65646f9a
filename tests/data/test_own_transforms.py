"""Augmentation of the user's own stands in the training transforms."""

import pytest
import torch
from torch import Tensor

from vitrail.data.own_transforms import own_transforms, register_transform
from vitrail.data.transforms import AugmentConfig, MultiCrop, MultiCropConfig, TrainTransform
from vitrail.errors import ConfigError
from vitrail.preprocess import Preprocess

HALF = Preprocess((8, 8), None, mean=(0.5,) * 3, std=(0.5,) * 3)
NO_CROP = AugmentConfig(crop="none", flip=0.0)


@pytest.fixture(autouse=True)
def _named() -> None:
    @register_transform("darken")
    def darken(images: Tensor, generator: torch.Generator, factor: float = 0.5) -> Tensor:
        assert images.min() >= 0 and images.max() <= 1, "on 0..1, before they are normalized"
        return images * factor

    @register_transform("noise")
    def noise(images: Tensor, generator: torch.Generator) -> Tensor:
        return images + torch.rand(images.shape, generator=generator)


def test_they_run_in_order_before_normalization() -> None:
    images = torch.full((2, 3, 8, 8), 255, dtype=torch.uint8)
    own = own_transforms({"darken": {"factor": 0.5}})
    x, _ = TrainTransform(NO_CROP, HALF, 2, own)(images, torch.zeros(2), torch.full((2, 2), 8), 0)
    torch.testing.assert_close(x, torch.zeros_like(x))
    first, second = own_transforms({"darken": {}, "noise": {}})
    assert first(torch.ones(1), torch.Generator()) == 0.5
    assert second(torch.ones(1), torch.Generator().manual_seed(0)) > 1


def test_draws_follow_from_the_seed() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    transform = TrainTransform(NO_CROP, HALF, 2, own_transforms({"noise": {}}))
    once, again, other = (
        transform(images, torch.zeros(2), torch.full((2, 2), 8), seed)[0] for seed in (1, 1, 2)
    )
    assert torch.equal(once, again) and not torch.equal(once, other)


def test_every_crop_is_transformed() -> None:
    images = torch.full((2, 3, 20, 20), 255, dtype=torch.uint8)
    crops = MultiCropConfig(local=2, local_size=8, blur=(0, 0, 0), solarize=(0, 0, 0))
    preprocess = Preprocess((14, 14), None, mean=(0.0,) * 3, std=(1.0,) * 3)
    own = own_transforms({"darken": {"factor": 0.25}})
    transform = MultiCrop(AugmentConfig(), crops, preprocess, own=own)
    result = transform(images, torch.full((2, 2), 20), seed=0)
    assert len(result) == 4
    for crop in result:
        torch.testing.assert_close(crop, torch.full_like(crop, 0.25))


def test_what_changes_the_shape_is_named() -> None:
    @register_transform("cut")
    def cut(images: Tensor, generator: torch.Generator) -> Tensor:
        return images[..., :4]

    (transform,) = own_transforms({"cut": {}})
    with pytest.raises(ConfigError, match=r"transform 'cut' makes \(1, 1, 8, 4\) of images \(1, 1"):
        transform(torch.zeros(1, 1, 8, 8), torch.Generator())
