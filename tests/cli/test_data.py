"""`vitrail data`: classes, damage, copies and leaks, as text and as a page."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from vitrail.cli.main import build_app
from vitrail.data.duplicates import find_duplicates, picture_hash
from vitrail.data.images import read_image
from vitrail.data.registry import open_parts

HELD_OUT = ", held out of the training images"


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for split, first in (("train", 0), ("test", 20)):
        for number, label in enumerate(("cat", "dog")):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(4):
                picture(first + 10 * number + i).save(folder / f"{i}.png")
    picture(0).save(root / "test" / "cat" / "leak.bmp")  # the same pixels
    picture(11).resize((90, 70)).save(root / "test" / "cat" / "smaller.jpg", quality=60)
    (root / "train" / "cat" / "empty.png").touch()
    return root


def test_copies_are_found_within_splits_and_between(photos: Path) -> None:
    (photos / "train" / "cat" / "empty.png").unlink()
    splits = {split: part() for split, part in open_parts(f"folder:{photos}").items()}
    duplicates = find_duplicates(splits)
    names = [[(c.split, Path(c.name).name) for c in group] for group in duplicates.leaks()]
    assert names[0] == [("train", "0.png"), ("test", "leak.bmp")]
    assert sorted(names[1]) == [("test", "smaller.jpg"), ("train", "1.png")]
    assert [c.label for c in duplicates.contradictions()[0]] == ["dog", "cat"]
    assert len(duplicates.exact) == len(duplicates.near) == 1


def test_hashes_of_other_pictures_are_far_apart(tmp_path: Path) -> None:
    hashes = []
    for seed in range(12):
        picture(seed).save(tmp_path / "x.png")
        hashes.append(picture_hash(read_image(tmp_path / "x.png")))
    distances = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 8


def test_the_command_says_it_and_writes_a_page(photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    (photos / "train" / "cat" / "edits.AAE").touch()
    command = ["data", f"folder:{photos}", "--out", str(page), "--image-size", "32"]
    result = CliRunner().invoke(build_app(), command)
    assert result.exit_code == 0, result.output
    assert result.output.count("empty.png: the file is empty") == 1
    assert "images in more than one split: 2" in result.output
    assert "leak.bmp (test)" in result.output
    assert f"{HELD_OUT}\n" in result.output
    assert ", from train/\n" in result.output and "left aside: 1 .aae\n" in result.output
    text = page.read_text()
    assert text.count("<img") >= 12 and "leak.bmp" in text and "augmented" in text
    assert CliRunner().invoke(build_app(), command).exit_code != 0  # nothing is overwritten


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("images:{root}/train/dog", ["train: 3 images", f"val: 1 image{HELD_OUT}"]),
        (
            "csv:{root}/several.csv",
            ["train: 7 images", "  dark: 6", "  wide: 7", f"val: 1 image{HELD_OUT}"],
        ),
        ("csv:{root}/numbers.csv?numbers=size", ["train: 7 images", f"val: 1 image{HELD_OUT}"]),
    ],
)
def test_any_kind_of_labels_or_none(
    photos: Path, tmp_path: Path, source: str, lines: list[str]
) -> None:
    names = [f"{split}/dog/{i}.png" for split in ("train", "test") for i in range(4)]
    labels = ["dark|wide" if i % 4 else "wide" for i in range(8)]
    rows = zip(names, labels, strict=True)
    (photos / "several.csv").write_text("path,labels\n" + "".join(f"{n},{t}\n" for n, t in rows))
    sizes = "".join(f"{name},{i / 2}\n" for i, name in enumerate(names))
    (photos / "numbers.csv").write_text(f"path,size\n{sizes}")
    page = tmp_path / "page.html"
    result = CliRunner().invoke(
        build_app(), ["data", source.format(root=photos), "--out", str(page)]
    )
    assert result.exception is None, result.output
    printed = result.output.splitlines()
    assert [line for line in lines if line not in printed] == []
    assert "copies with different labels: 0" in printed
    assert page.read_text().count("<figure") >= 4


def test_one_folder_says_once_what_is_damaged_and_what_images_without_classes_are(
    photos: Path,
) -> None:
    (photos / "train" / "dog" / "empty.png").touch()
    result = CliRunner().invoke(build_app(), ["data", f"folder:{photos / 'train'}"])
    assert (
        result.output.count("dog/empty.png: the file is empty") == 1 and HELD_OUT in result.output
    )
    result = CliRunner().invoke(build_app(), ["data", f"folder:{photos / 'train' / 'dog'}"])
    assert f"without classes are images:{photos / 'train' / 'dog'}" in str(result.exception)


def test_of_many_copies_a_few_are_named(tmp_path: Path) -> None:
    for label, count in (("cat", 9), ("dog", 3)):
        (tmp_path / label).mkdir()
        for i in range(count):
            picture(0 if label == "cat" else i + 1).save(tmp_path / label / f"{i}.png")
    result = CliRunner().invoke(build_app(), ["data", f"folder:{tmp_path}", "data.validation=0.2"])
    [line, *_others] = [text for text in result.output.splitlines() if "0.png" in text]
    assert line.count(".png") == 4 and line.endswith(" = 5 more")


def test_data_that_cannot_be_divided_are_shown_all_the_same(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "test" / label).mkdir(parents=True)
        picture(len(label)).save(tmp_path / "test" / label / "1.png")
    result = CliRunner().invoke(build_app(), ["data", f"folder:{tmp_path}", "--no-copies"])
    assert result.output.splitlines() == ["train: 2 images, from test/", "  cat: 1", "  dog: 1"]


def test_a_page_is_html(tmp_path: Path) -> None:
    arguments = ["data", "digits", "--out", str(tmp_path / "page.pdf")]
    result = CliRunner().invoke(build_app(), arguments)
    assert "page.pdf does not end in .html." in str(result.exception)


def test_a_class_without_a_readable_image_says_why(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        picture(3).save(tmp_path / label / "1.png")
    (tmp_path / "dog" / "1.png").write_bytes(b"")
    result = CliRunner().invoke(build_app(), ["data", f"folder:{tmp_path}"])
    assert "class 'dog' has no readable image, such as" in str(result.exception)
    assert "1.png (the file is empty): add some" in str(result.exception)
