"""Augmentation of clips, volumes and signals, and the batches that hold them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vitrail.data.functional import flip, mix, random_resized_crop, shift
from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.loader import Loader, canvas
from vitrail.data.recording_dataset import RecordingDataset
from vitrail.data.recording_inputs import KINDS
from vitrail.data.transforms import AugmentConfig, MultiCrop, MultiCropConfig, TrainTransform
from vitrail.errors import ConfigError
from vitrail.preprocess import Preprocess, Sampling


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def still(frames: int = 3) -> Tensor:
    """Clips (4, 2, frames, 8, 9) whose frames are all the same."""
    return torch.rand(4, 2, 1, 8, 9, generator=seeded()).expand(-1, -1, frames, -1, -1)


class TestClips:
    def test_all_frames_are_cut_like_one_image(self) -> None:
        clips, sizes = still(), torch.tensor([[3, 8, 9]]).expand(4, -1)
        crops = random_resized_crop(clips, sizes, (3, 6, 6), (0.3, 1), (0.7, 1.4), seeded(1))
        alone = random_resized_crop(
            clips[:, :, 0], sizes[:, 1:], (6, 6), (0.3, 1), (0.7, 1.4), seeded(1)
        )
        assert crops.shape == (4, 2, 3, 6, 6)
        for frame in crops.unbind(2):
            torch.testing.assert_close(frame, alone)

    def test_all_frames_are_shifted_like_one_image(self) -> None:
        moved, alone = shift(still(), 2, seeded(1)), shift(still()[:, :, 0], 2, seeded(1))
        assert all(torch.equal(frame, alone) for frame in moved.unbind(2))

    def test_reversal_in_time_moves_frames_only(self) -> None:
        clips = torch.rand(64, 1, 3, 2, 2)
        changed = flip(clips, 0.5, seeded(), axis=2)
        same = (changed == clips).flatten(1).all(1)
        reversed_ones = (changed == clips.flip(2)).flatten(1).all(1)
        assert (same ^ reversed_ones).all() and 20 < same.sum() < 44

    def test_cutmix_takes_one_rectangle_of_all_frames(self) -> None:
        x = torch.arange(2.0).view(2, 1, 1, 1, 1).expand(2, 1, 3, 16, 16)
        mixed, labels = mix(x, torch.tensor([0, 1]), 2, mixup=0.0, cutmix=1.0, generator=seeded(3))
        assert all(torch.equal(frame, mixed[:, :, 0]) for frame in mixed.unbind(2))
        assert labels[0, 1].item() == pytest.approx(mixed[0].mean().item(), abs=1e-6)

    def test_a_canvas_squeezes_every_frame(self) -> None:
        clip = torch.randint(0, 255, (1, 2, 9, 6), dtype=torch.uint8)
        squeezed = canvas(4, 3)(clip)
        assert squeezed.shape == (3, 2, 4, 4)
        assert torch.equal(squeezed[:, 1], canvas(4, 3)(clip[:, 1]))

    def test_several_crops_are_for_images(self) -> None:
        with pytest.raises(ConfigError, match="flat images only"):
            MultiCrop(AugmentConfig(), MultiCropConfig(), Preprocess((4, 16, 16), None))


class TestSignals:
    def test_a_segment_is_cut_and_stretched(self) -> None:
        ramps = torch.arange(100.0).expand(200, 1, 100)
        sizes = torch.full((200, 1), 100)
        parts = random_resized_crop(ramps, sizes, (50,), (0.5, 0.75), (0.75, 1.3), seeded())
        spans = (parts[:, 0, 30] - parts[:, 0, 20]) / 10 * 50  # values per segment
        assert parts.shape == (200, 1, 50)
        assert spans.min() > 49 and spans.max() < 76 and spans.std() > 5
        assert (parts.diff(dim=2) >= -1e-3).all()  # in the order of time

    def test_a_shift_is_in_time(self) -> None:
        signals = torch.arange(1.0, 9.0).expand(50, 1, 8)
        moved = shift(signals, 2, seeded())
        assert {row[0, 2].item() for row in moved} == {1, 2, 3, 4, 5}

    def test_signals_are_reversed_where_it_is_asked_for_and_never_flipped(self) -> None:
        preprocess = Preprocess((8,), None, mean=(0.0,), std=(1.0,))
        signals, sizes = torch.rand(32, 1, 8), torch.full((32, 1), 8)
        labels = torch.zeros(32).long()
        plain = TrainTransform(AugmentConfig(crop="none", flip=1.0), preprocess, 2)
        assert torch.equal(plain(signals, labels, sizes, 0)[0], signals)
        backward = TrainTransform(AugmentConfig(crop="none", reverse=1.0), preprocess, 2)
        assert torch.equal(backward(signals, labels, sizes, 0)[0], signals.flip(2))


@pytest.mark.parametrize("size", [(4, 8, 8), (16,)])
def test_defaults_suit_every_kind_and_colors_none(size: tuple[int, ...]) -> None:
    preprocess = Preprocess(size, None, mean=(0.5,) * 2, std=(0.5,) * 2)
    transform = TrainTransform(AugmentConfig(mixup=0.2), preprocess, 2)
    x, labels = transform(
        torch.randint(0, 255, (3, 2, *size), dtype=torch.uint8),
        torch.tensor([0, 1, 1]),
        torch.tensor([size] * 3),
        seed=0,
    )
    assert x.shape == (3, 2, *size) and x.abs().max() <= 1 and labels.shape == (3, 2)
    with pytest.raises(ConfigError, match="blur=0.5 is for images"):
        TrainTransform(AugmentConfig(blur=0.5), preprocess, 2)


def test_reversal_is_not_for_images() -> None:
    with pytest.raises(ConfigError, match="reverse=0.5 is for clips and signals"):
        TrainTransform(AugmentConfig(reverse=0.5), Preprocess((8, 8), None), 2)


def test_floats_keep_their_units() -> None:
    preprocess = Preprocess((4,), None, mean=(100.0,), std=(50.0,))
    transform = TrainTransform(AugmentConfig(crop="none"), preprocess, 2)
    signals, sizes = torch.full((1, 1, 4), 200.0), torch.full((1, 1), 4)
    assert transform(signals, torch.zeros(1).long(), sizes, 0)[0].unique().tolist() == [2]
    assert preprocess.normalise(signals).unique().tolist() == [2]
    dataset = InMemoryDataset(signals + torch.tensor([-1.0, 1, -1, 1]), torch.zeros(1), ["a"])
    assert dataset.statistics == ((200,), (1,))


def test_a_loader_reads_other_parts_in_each_epoch_whatever_the_workers(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.npy" for n in range(4)]
    for number, file in enumerate(files):
        np.save(file, np.arange(100.0) + 1000 * number)
    dataset = RecordingDataset(tmp_path, files, [0, 1, 0, 1], ["a", "b"], KINDS["signals"])
    preprocess = Preprocess((8,), None, mean=(0.0,), std=(1.0,), sampling=Sampling(stride=1))
    dataset = dataset.for_input(preprocess)

    def epoch(number: int, workers: int = 0, seed: int | None = 0) -> Tensor:
        loader = Loader(dataset, 2, preprocess.crop, seed=seed, workers=workers)
        batches = list(loader.epoch(number))
        order = torch.cat([batch.indices for batch in batches]).argsort()
        return torch.cat([batch.images for batch in batches])[order]

    assert torch.equal(epoch(0), epoch(0)) and torch.equal(epoch(0), epoch(0, workers=1))
    assert not torch.equal(epoch(0), epoch(1))
    assert torch.equal(epoch(0, seed=None), epoch(1, seed=None))
    assert (epoch(0)[:, 0, 0] // 1000).tolist() == [0, 1, 2, 3]
