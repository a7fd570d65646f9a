"""Tables of videos, volumes and signals: what they are, their labels, training on them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitrail
from vitrail.data.recording_dataset import RecordingDataset
from vitrail.data.registry import open_dataset, open_parts
from vitrail.errors import DataError
from vitrail.lens.report_page import write_report
from vitrail.preprocess import Preprocess, Sampling
from vitrail.train.factory import train_run


def save_wave(path: Path) -> None:
    wavfile = pytest.importorskip("scipy.io.wavfile")
    wavfile.write(path, 100, np.arange(60, dtype=np.int16))


def save_nifti(path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), path)


def save_pages(path: Path, count: int = 4) -> None:
    pages = [Image.new("L", (6, 5), value) for value in range(count)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def save_video(path: Path) -> None:
    pytest.importorskip("av")
    from tests.data.test_recordings import write_video

    write_video(path, frames=10)


def save_frames(path: Path) -> None:
    path.mkdir()
    for number in range(3):
        Image.new("RGB", (6, 5)).save(path / f"{number}.png")


def array(*shape: int) -> Callable[[Path], None]:
    return lambda path: np.save(path, np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("name", "save", "kind"),
    [
        ("a.mp4", save_video, "videos"),
        ("a.nii.gz", save_nifti, "volumes"),
        ("a.tif", save_pages, "volumes"),
        ("a.tif", lambda path: save_pages(path, 2), None),  # an image and its thumbnail
        ("a.npy", array(1, 4, 5, 6), "volumes"),
        ("a.npy", array(90), "signals"),
        ("a.csv", lambda path: np.savetxt(path, np.zeros((9, 2))), "signals"),
        ("a.wav", save_wave, "signals"),
        ("a.png", lambda path: Image.new("L", (4, 4)).save(path), None),
        ("a.npy", array(40, 50), None),
        ("a.npy", array(40, 50, 3), None),
        ("a.npy", array(4, 50, 60), None),
    ],
)
def test_what_a_file_is_follows_from_its_suffix_and_its_content(
    tmp_path: Path, name: str, save: Callable[[Path], None], kind: str | None
) -> None:
    save(tmp_path / name)
    (tmp_path / "t.csv").write_text(f"file,label\n{name},a\n")
    dataset = open_parts(f"csv:{tmp_path / 't.csv'}")["train"]()
    assert (dataset.kind.name if isinstance(dataset, RecordingDataset) else None) == kind


@pytest.mark.parametrize(
    ("name", "save", "kinds"),
    [
        ("a.npy", array(12, 500), "signals or images"),
        ("a.npy", array(8, 9, 10), "volumes or images"),
        ("a", save_frames, "videos or volumes"),
    ],
)
def test_what_may_be_of_two_kinds_is_refused_with_a_cure(
    tmp_path: Path, name: str, save: Callable[[Path], None], kinds: str
) -> None:
    save(tmp_path / name)
    table = tmp_path / "t.csv"
    table.write_text(f"file,label\n{name},a\n")
    with pytest.raises(DataError, match=f"may be of {kinds}: add .kind="):
        open_parts(f"csv:{table}")
    first = kinds.split()[0]
    dataset = open_parts(f"csv:{table}?kind={first}")["train"]()
    assert isinstance(dataset, RecordingDataset) and dataset.kind.name == first
    assert dataset.read(0).ndim == (2 if first == "signals" else 4)


def test_a_file_that_cannot_be_read_says_nothing_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"damaged")
    save_pages(tmp_path / "b.tif")
    (tmp_path / "t.csv").write_text("file,label\na.tif,a\nb.tif,b\n")
    dataset = open_parts(f"csv:{tmp_path / 't.csv'}")["train"]()
    assert isinstance(dataset, RecordingDataset)
    assert dataset.kind.name == "volumes"


def test_one_table_is_of_one_kind(tmp_path: Path) -> None:
    save_wave(tmp_path / "a.wav")
    (tmp_path / "t.csv").write_text("file,label\na.wav,a\nb.mp4,b\n")
    with pytest.raises(DataError, match=r"a\.wav is of signals, and .*b\.mp4 of videos: write a"):
        open_parts(f"csv:{tmp_path / 't.csv'}")
    with pytest.raises(Exception, match="kind='film' is not one of 'images', 'videos'"):
        open_parts(f"csv:{tmp_path / 't.csv'}?kind=film")


@pytest.fixture
def waves(tmp_path: Path) -> Path:
    """A table of 16 sines, fast or slow, of which 4 are for validation and 4 for the test."""
    lines = ["signal,speed,rate,tags,split"]
    for number in range(16):
        fast, split = number % 2, ("train", "train", "val", "test")[number // 4]
        rate = 0.3 + 1.1 * fast
        time = np.arange(40) + number
        np.savetxt(tmp_path / f"{number}.csv", np.sin(rate * time))
        lines.append(f"{number}.csv,{['slow', 'fast'][fast]},{rate},wave;{'f' * fast},{split}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return tmp_path / "t.csv"


def test_splits_labels_and_numbers_are_those_of_other_tables(waves: Path) -> None:
    parts = open_parts(f"csv:{waves}?label=speed")
    assert {split: len(part()) for split, part in parts.items()} == {
        "train": 8, "val": 4, "test": 4,
    }  # fmt: skip
    dataset = open_dataset(f"csv:{waves}?label=speed", "test")
    assert dataset.labels == ["fast", "slow"] and dataset.targets() == [1, 0, 1, 0]
    preprocess = Preprocess((8,), None, sampling=Sampling(stride=1))
    part = dataset.for_input(preprocess).subset([3, 1])
    assert part.read(0).shape == (1, 8) and part.key(0) == "15.csv"
    numbers = open_dataset(f"csv:{waves}?numbers=rate", "val").subset([1, 0])
    assert numbers.target == "numbers" and numbers.truth()[:, 0].tolist() == pytest.approx(
        [1.4, 0.3]
    )
    several = open_dataset(f"csv:{waves}?labels=tags")
    assert several.target == "labels" and several.labels == ["f", "wave"]


@pytest.mark.parametrize(
    ("query", "figure", "reached"),
    [
        ("numbers=rate", "r2", 0.5),
        pytest.param("label=speed", "top1", 1.0, marks=pytest.mark.slow),
        pytest.param("labels=tags", "map", 1.0, marks=pytest.mark.slow),
    ],
)
def test_the_same_trainer_learns_classes_numbers_and_labels(
    waves: Path, tmp_path: Path, query: str, figure: str, reached: float
) -> None:
    options = {"image_size": [32], "patch_size": 4, "dim": 16, "depth": 1, "heads": 2}
    settings = {
        "model": {"name": "ViT", "options": {**options, "mlp_dim": 16}},
        "data": {"source": f"csv:{waves}?{query}", "batch_size": 4, "augment": {"crop": "none"},
                 "sampling": {"stride": 1}},
        "optim": {"lr": 0.01},
        "schedule": {"epochs": 25},
        "train": {"seed": 0, "threads": 1},
    }  # fmt: skip
    figures = train_run(settings, tmp_path / "run")
    assert figures[figure] >= reached
    page = write_report(tmp_path / "run").read_text("utf-8")
    assert "cannot be drawn" not in page
    [prediction] = vitrail.predict(tmp_path / "run", waves.parent / "15.csv")
    assert prediction.target == {"top1": "class", "r2": "numbers", "map": "labels"}[figure]
